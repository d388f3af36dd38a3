"""What figures were measured on, and how a list of times becomes a figure."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw.bench.interpreter import how_built
from goclaw.doctor import measure_flush

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

_CPU_INFO = Path("/proc/cpuinfo")
_PACKAGES = ("rocksdict", "pykka", "msgpack")


def describe_machine() -> dict[str, Any]:
    """Return processors, their model, the system, and the versions that matter."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "model": _cpu_model(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "python_built": how_built(),
        **{name: version(name) for name in _PACKAGES},
    }


def measure_on_disk(
    directory: Path,
    load: Mapping[str, Any],
    measure: Callable[[Path], Coroutine[Any, Any, dict[str, Any]]],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return what `measure` finds in a directory of its own, with what it was measured on.

    The directory lies below `directory`, and is removed. `load`: how much is run, `tell` hears of
    progress.
    """
    with tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-") as name:
        tell("flush floor")
        floor = measure_flush(Path(name))
        figures = asyncio.run(measure(Path(name) / "engine"))
    return {
        "machine": describe_machine(),
        "settings": {**load, "flush": "on"},
        "flush_floor_ms": {"p50": round(floor.p50_ms, 3), "p99": round(floor.p99_ms, 3)},
        **figures,
    }


def _cpu_model() -> str:
    try:
        lines = _CPU_INFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def percentiles(times_ms: Sequence[float]) -> dict[str, float]:
    """Return p50 and p99 of times, by nearest rank; 0 for none."""
    if not times_ms:
        return {"p50": 0.0, "p99": 0.0}
    ordered = sorted(times_ms)
    return {
        "p50": round(ordered[(len(ordered) - 1) * 50 // 100], 3),
        "p99": round(ordered[(len(ordered) - 1) * 99 // 100], 3),
    }
