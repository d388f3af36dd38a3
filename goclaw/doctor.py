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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.datadir import DataDirectory
from goclaw.disk import Mount, disk_finding, mount_of
from goclaw.errors import EXIT_DAMAGED, EXIT_OK, EXIT_UNAVAILABLE
from goclaw.log_health import LogHealth, ask_engine, look_at_log
from goclaw.noted import CLOCK_JUMPED, LOG_VERIFIED, noted
from goclaw.problems import Finding, State, problem
from goclaw_events.datalock import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from goclaw.config import Settings

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

MISSING: Final = "missing"
_EXITS: Final[dict[State, int]] = {
    "ok": EXIT_OK,
    "warning": EXIT_OK,
    "unavailable": EXIT_UNAVAILABLE,
    "damaged": EXIT_DAMAGED,
}


class FlushFloor(NamedTuple):
    """What one small durable write costs here, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the doctor saw. `log` is empty where there is none or an engine has it."""

    versions: dict[str, str]
    machine: dict[str, str | int]
    data_dir: dict[str, str | int | bool]
    mount: Mount | None
    flush_ms: FlushFloor | None
    health: LogHealth
    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        """Return 0, or 6 when data are damaged, or 5 when Goclaw cannot work here."""
        return max(_EXITS[finding.state] for finding in self.findings)


def examine(data_dir: Path, settings: Settings | None = None) -> Report:
    """Look at the machine and at `data_dir`, which need not exist; takes about a second.

    Modules that `settings` name are imported where unfinished runs need agents.
    """
    started = (time.time(), time.monotonic())
    versions = {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}}
    findings = [
        *_directory(data_dir),
        *_archive(data_dir / "segments"),
        _space(data_dir),
        _packages(versions),
    ]
    flush, mount, health = None, None, LogHealth()
    base = _existing(data_dir)
    if os.access(base, os.W_OK):
        flush, mount = measure_flush(base), mount_of(base)
        findings += [_flush(flush), disk_finding(mount, flush.p50_ms)]
    findings.append(_clock(*started))
    findings += _noted(data_dir)
    usable = all(_EXITS[finding.state] == EXIT_OK for finding in findings)
    if usable and (found := _look_inside(data_dir, settings)) is not None:
        health = found
        findings += health.findings
        if any(finding.name == "engine" and finding.state == "ok" for finding in findings):
            # it answers, so that it holds the directory is as it should be
            findings = [finding for finding in findings if finding.code != "data_dir_in_use"]
    return Report(
        versions=versions,
        machine=_machine(),
        data_dir={
            "path": str(data_dir.absolute()),
            "exists": data_dir.is_dir(),
            "free_bytes": shutil.disk_usage(base).free,
        },
        mount=mount,
        flush_ms=flush,
        health=health,
        findings=findings,
    )


def _look_inside(data_dir: Path, settings: Settings | None) -> LogHealth | None:
    """Ask the engine that holds the directory, or look at what nobody holds."""
    if lock_holder(data_dir) is None:
        return look_at_log(data_dir, settings)
    return ask_engine(data_dir)


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


def _packages(versions: dict[str, str]) -> Finding:
    missing = [name for name, found in versions.items() if found == MISSING]
    if not missing:
        return Finding("packages", "ok", f"{len(versions) - 1} installed")
    return problem("package_missing", "packages", f"{', '.join(missing)} cannot be found")


def report_record(report: Report) -> dict[str, Any]:
    """Return a report as JSON data."""
    flush, mount, health = report.flush_ms, report.mount, report.health
    return {
        "ok": report.exit_code == EXIT_OK,
        "versions": report.versions,
        "machine": report.machine,
        "data_dir": report.data_dir,
        "mount": None if mount is None else mount._asdict(),
        "flush_ms": None if flush is None else flush._asdict(),
        "log": health.log,
        "views": health.views,
        "runs": health.runs,
        "findings": [finding._asdict() for finding in report.findings],
    }


def _directory(data_dir: Path) -> list[Finding]:
    name = "data directory"
    if data_dir.is_symlink():
        says = f"{data_dir} is a symbolic link"
        return [problem("data_dir_symlink", name, says, path=data_dir.resolve())]
    if not data_dir.exists():
        base = _existing(data_dir)
        if not os.access(base, os.W_OK):
            return [_unwritable(name, base)]
        return [Finding(name, "ok", f"{data_dir} is not there yet; the first run makes it")]
    if not data_dir.is_dir():
        return [problem("data_dir_not_directory", name, f"{data_dir} is not a directory")]
    if not os.access(data_dir, os.W_OK | os.X_OK):
        return [_unwritable(name, data_dir)]
    found = [Finding(name, "ok", f"{data_dir} can be written")]
    holder = lock_holder(data_dir)
    if holder is not None:
        says = f"{holder} holds it; a second engine cannot open it"
        found.append(problem("data_dir_in_use", "directory in use", says))
    log = data_dir / "log"
    if log.is_dir() and any(log.iterdir()) and not (log / "CURRENT").exists():
        says = f"{log} holds files of a log, but not CURRENT, which names its state"
        found.append(problem("log_state_missing", "log", says, path=data_dir))
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
    says = f"{path} cannot be written by this user"
    return problem("data_dir_unwritable", name, says, user=os.getuid(), path=path)


def _space(data_dir: Path) -> Finding:
    free = shutil.disk_usage(_existing(data_dir)).free
    says = f"{free / (1 << 30):.1f} GiB free"
    if free < FREE_BYTES_MIN:
        return problem("disk_space_out", "disk space", says)
    if free < FREE_BYTES_LOW:
        return problem("disk_space_low", "disk space", says)
    return Finding("disk space", "ok", says)


def _flush(floor: FlushFloor) -> Finding:
    says = f"p50 {floor.p50_ms} ms, p99 {floor.p99_ms} ms over {FLUSHES} writes"
    if floor.p99_ms > FLUSH_P99_SLOW_MS:
        return problem("flush_slow", "flush floor", says)
    return Finding("flush floor", "ok", says)


def _clock(wall_s: float, monotonic_s: float) -> Finding:
    drift_s = (time.time() - wall_s) - (time.monotonic() - monotonic_s)
    if wall_s < CLOCK_LEAST_S:
        return problem("clock_unset", "clock", "the wall clock is not set")
    if abs(drift_s) > CLOCK_DRIFT_MAX_S:
        says = f"the wall clock moved {drift_s:+.1f} s against the monotonic one just now"
        return problem("clock_moving", "clock", says)
    return Finding("clock", "ok", "set, and steady")


def _noted(data_dir: Path) -> list[Finding]:
    """Say what was noticed last, here or by an engine: nothing where there is no log."""
    directory = DataDirectory(data_dir)
    if not directory.exists:
        return []
    verified = noted(directory.logs, LOG_VERIFIED)
    jumped = noted(directory.logs, CLOCK_JUMPED)
    name = "log verified"
    if verified is None:
        found = [Finding(name, "ok", "never; `goclaw log verify` reads all of it")]
    elif verified["whole"]:
        found = [Finding(name, "ok", f"{verified['facts']} facts, whole, at {verified['at']}")]
    else:
        says = (
            f"{verified['problems']} problems at {verified['at']}; `goclaw log verify` says which"
        )
        found = [Finding(name, "warning", says)]
    if jumped is not None:
        says = f"the wall clock jumped last at {jumped['at']}, by {jumped['jump_s']:+g} s"
        found.append(Finding("clock jump", "ok", says))
    return found


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
        return MISSING
