"""Look at this machine and a data directory for what would keep Goclaw from working well."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from goclaw.errors import EXIT_DAMAGED, EXIT_OK, EXIT_UNAVAILABLE
from goclaw_events.datalock import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLUSHES: Final = 200
FLUSH_BYTES: Final = 4096
FLUSH_P99_SLOW_MS: Final = 10.0
"""Above this, latency is the disk's; figures are then to be read beside the flush floor."""
FREE_BYTES_LOW: Final = 1 << 30
FREE_BYTES_MIN: Final = 64 << 20
CLOCK_DRIFT_MAX_S: Final = 0.5
CLOCK_LEAST_S: Final = 1_735_689_600
"""2025-01-01: an earlier wall clock was never set."""
PACKAGES: Final = ("goclaw", "rocksdict", "pykka", "msgpack", "pydantic", "click", "structlog")

State = Literal["ok", "warning", "unavailable", "damaged"]
_EXITS: Final[dict[State, int]] = {
    "ok": EXIT_OK,
    "warning": EXIT_OK,
    "unavailable": EXIT_UNAVAILABLE,
    "damaged": EXIT_DAMAGED,
}


class Finding(NamedTuple):
    """One thing that was looked at. `mend`: the command that mends it, where there is one."""

    name: str
    state: State
    says: str
    mend: str = ""


class FlushFloor(NamedTuple):
    """What one small durable write costs here, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the doctor saw."""

    versions: dict[str, str]
    machine: dict[str, str | int]
    data_dir: dict[str, str | int | bool]
    flush_ms: FlushFloor | None
    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        """Return 0, or 6 when data are damaged, or 5 when Goclaw cannot work here."""
        return max(_EXITS[finding.state] for finding in self.findings)


def examine(data_dir: Path) -> Report:
    """Look at the machine and at `data_dir`, which need not exist; takes about a second."""
    started = (time.time(), time.monotonic())
    findings = [*_directory(data_dir), *_archive(data_dir / "segments"), _space(data_dir)]
    flush = None
    base = _existing(data_dir)
    if os.access(base, os.W_OK):
        flush = measure_flush(base)
        findings.append(_flush(flush))
    findings.append(_clock(*started))
    return Report(
        versions={"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        machine=_machine(),
        data_dir={
            "path": str(data_dir.absolute()),
            "exists": data_dir.is_dir(),
            "free_bytes": shutil.disk_usage(base).free,
        },
        flush_ms=flush,
        findings=findings,
    )


def measure_flush(
    directory: Path,
    flushes: int = FLUSHES,
    clock: Callable[[], float] = time.perf_counter,
) -> FlushFloor:
    """Append small blocks to a file of `directory`, each made durable, and time them."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=directory, prefix=".goclaw-doctor-") as file:
        descriptor = file.fileno()
        for _ in range(flushes):
            os.write(descriptor, b"\0" * FLUSH_BYTES)
            start = clock()
            os.fsync(descriptor)
            taken.append((clock() - start) * 1000)
    cuts = statistics.quantiles(taken, n=100)
    return FlushFloor(round(cuts[49], 3), round(cuts[98], 3))


def lock_holder(data_dir: Path) -> str | None:
    """Say which process holds `data_dir`; None when nobody does. Leaves the lock as it is."""
    try:
        descriptor = os.open(data_dir / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").partition(" ")[0].strip()
        return f"process {pid}" if pid.isdigit() else "another process"
    else:
        return None
    finally:
        os.close(descriptor)


def _directory(data_dir: Path) -> list[Finding]:
    name = "data directory"
    if data_dir.is_symlink():
        mend = f"name the directory itself: --data-dir {data_dir.resolve()}"
        return [Finding(name, "unavailable", f"{data_dir} is a symbolic link", mend)]
    if not data_dir.exists():
        base = _existing(data_dir)
        if not os.access(base, os.W_OK):
            return [_unwritable(name, base)]
        return [Finding(name, "ok", f"{data_dir} is not there yet; the first run makes it")]
    if not data_dir.is_dir():
        mend = "choose another one with --data-dir"
        return [Finding(name, "unavailable", f"{data_dir} is not a directory", mend)]
    if not os.access(data_dir, os.W_OK | os.X_OK):
        return [_unwritable(name, data_dir)]
    found = [Finding(name, "ok", f"{data_dir} can be written")]
    holder = lock_holder(data_dir)
    if holder is not None:
        mend = "stop that process, or use another --data-dir"
        found.append(
            Finding("engine", "warning", f"{holder} holds it; a second engine cannot open it", mend)
        )
    log = data_dir / "log"
    if log.is_dir() and any(log.iterdir()) and not (log / "CURRENT").exists():
        says = f"{log} holds files of a log, but not CURRENT, which names its state"
        mend = f"restore the directory from a backup; see `goclaw fsck --data-dir {data_dir}`"
        found.append(Finding("log", "damaged", says, mend))
    return found


def _archive(segments: Path) -> list[Finding]:
    """Say what is archived; nothing where nothing is."""
    files = [path.stat().st_size for path in segments.glob("*.segment")]
    if not files and not any(segments.glob("*.baseline")):
        return []
    gone = ", and history was given up" if any(segments.glob("*.baseline")) else ""
    says = f"{len(files)} segments of {sum(files) / (1 << 20):.1f} MiB{gone}"
    return [Finding("archive", "ok", says)]


def _unwritable(name: str, path: Path) -> Finding:
    mend = f"chown {os.getuid()} {path}, or choose another one with --data-dir"
    return Finding(name, "unavailable", f"{path} cannot be written by this user", mend)


def _space(data_dir: Path) -> Finding:
    free = shutil.disk_usage(_existing(data_dir)).free
    says = f"{free / (1 << 30):.1f} GiB free"
    mend = "make room, or choose a --data-dir on another disk"
    if free < FREE_BYTES_MIN:
        return Finding("disk space", "unavailable", says, mend)
    if free < FREE_BYTES_LOW:
        return Finding("disk space", "warning", says, mend)
    return Finding("disk space", "ok", says)


def _flush(floor: FlushFloor) -> Finding:
    says = f"p50 {floor.p50_ms} ms, p99 {floor.p99_ms} ms over {FLUSHES} writes"
    if floor.p99_ms > FLUSH_P99_SLOW_MS:
        mend = "choose a --data-dir on a local disk; every commit waits for one flush"
        return Finding("flush floor", "warning", says, mend)
    return Finding("flush floor", "ok", says)


def _clock(wall_s: float, monotonic_s: float) -> Finding:
    drift_s = (time.time() - wall_s) - (time.monotonic() - monotonic_s)
    mend = "timedatectl set-ntp true"
    if wall_s < CLOCK_LEAST_S:
        return Finding("clock", "warning", "the wall clock is not set", mend)
    if abs(drift_s) > CLOCK_DRIFT_MAX_S:
        says = f"the wall clock moved {drift_s:+.1f} s against the monotonic one just now"
        return Finding("clock", "warning", says, mend)
    return Finding("clock", "ok", "set, and steady")


def _existing(path: Path) -> Path:
    """Return `path`, or the nearest directory above it that is there."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _machine() -> dict[str, str | int]:
    return {
        "system": platform.platform(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "byte_order": sys.byteorder,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
