"""What a figure was measured on, and how a list of times becomes a figure."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_CPU_INFO = Path("/proc/cpuinfo")
_PACKAGES = ("rocksdict", "pykka", "msgpack")


def describe_machine() -> dict[str, Any]:
    """Return processors, their model, the system, and the versions that matter."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "model": _cpu_model(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
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
