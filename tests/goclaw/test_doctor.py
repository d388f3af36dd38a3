"""The doctor: what it finds, and the exit code that follows."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

import goclaw
from goclaw import doctor, world
from goclaw.cli import main
from goclaw_actors.env import SystemClock
from goclaw_events.datalock import DataLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw.problems import Finding


WORKFLOW = goclaw.Workflow("noted")
WORKFLOW.wait("pause", "1ms")


class Usage(NamedTuple):
    """What `shutil.disk_usage` answers."""

    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Flush a few times only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "measure_flush", lambda _: doctor.FlushFloor(0.1, 0.2))


def found(data_dir: Path, name: str) -> Finding | None:
    """Return the finding of that name."""
    return next((f for f in doctor.examine(data_dir).findings if f.name == name), None)


def test_a_healthy_machine_gets_no_complaint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a data directory everything is well, and nothing is left behind."""
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["ok"] is True
    assert report["versions"]["rocksdict"] != "missing"
    assert report["flush_ms"] == {"p50_ms": 0.1, "p99_ms": 0.2}
    assert report["data_dir"]["exists"] is False
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--json` a person reads versions, machine and findings."""
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "cores" in out
    assert "the first run makes it" in out


def test_a_running_engine_is_named(tmp_path: Path) -> None:
    """The process that holds the directory is named; it is no fault."""
    assert found(tmp_path, "directory in use") is None
    with DataLock(tmp_path):
        finding = found(tmp_path, "directory in use")
        assert finding is not None
        assert finding.state == "warning"
        assert "process " in finding.says
        assert doctor.examine(tmp_path).exit_code == 0
    assert found(tmp_path, "directory in use") is None


def test_looking_leaves_the_lock_as_it_is(tmp_path: Path) -> None:
    """After the doctor has looked, an engine can take the directory."""
    with DataLock(tmp_path):
        pass
    assert doctor.lock_holder(tmp_path) is None
    with DataLock(tmp_path):
        assert doctor.lock_holder(tmp_path) is not None


def test_what_was_noticed_last_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last `log verify`, and the last jump of the clock, which an engine noticed."""
    data_dir = tmp_path / "d"
    assert found(data_dir, "log verified") is None
    goclaw.run(WORKFLOW, data_dir=data_dir)
    verified = found(data_dir, "log verified")
    assert verified is not None
    assert verified.says.startswith("never")
    assert found(data_dir, "clock jump") is None
    assert main(["log", "verify", "--data-dir", str(data_dir)]) == 0
    capsys.readouterr()
    with monkeypatch.context() as patched:
        early = functools.partial(SystemClock, wall=lambda: 1_700_000_000_000_000_000)
        patched.setattr(world, "SystemClock", early)
        goclaw.run(WORKFLOW, data_dir=data_dir)
    verified, jumped = (found(data_dir, name) for name in ("log verified", "clock jump"))
    assert verified is not None
    assert jumped is not None
    assert "facts, whole, at 20" in verified.says
    assert "by -" in jumped.says


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_place_that_cannot_be_used_exits_with_5(kind: str, tmp_path: Path) -> None:
    """A file, or a symbolic link, is no data directory; what to do is said."""
    place = tmp_path / "place"
    if kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path)
    finding = found(place, "data directory")
    assert finding is not None
    assert finding.state == "unavailable"
    assert "--data-dir" in finding.mend
    assert doctor.examine(place).exit_code == 5


def test_a_place_that_cannot_be_written_exits_with_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to write, the command that gives it is named."""
    monkeypatch.setattr("goclaw.doctor.os.access", lambda *_: False)
    for place in (tmp_path, tmp_path / "new"):
        report = doctor.examine(place)
        assert report.exit_code == 5
        assert report.flush_ms is None
        assert "chown" in report.findings[0].mend


def test_a_log_without_its_state_is_damaged(tmp_path: Path) -> None:
    """Files of a log without CURRENT are damage: exit code 6."""
    (tmp_path / "log").mkdir()
    assert doctor.examine(tmp_path).exit_code == 0
    (tmp_path / "log" / "000001.sst").touch()
    assert doctor.examine(tmp_path).exit_code == 6
    (tmp_path / "log" / "CURRENT").touch()
    report = doctor.examine(tmp_path)
    assert report.exit_code == 6
    assert report.findings[-1].code == "log_damaged"


@pytest.mark.parametrize(
    ("free", "state"), [(1 << 40, "ok"), (1 << 28, "warning"), (1 << 20, "unavailable")]
)
def test_space_is_judged(
    free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little space is a warning, hardly any is a reason not to start."""
    monkeypatch.setattr("goclaw.doctor.shutil.disk_usage", lambda _: Usage(free, 0, free))
    finding = found(tmp_path, "disk space")
    assert finding is not None
    assert finding.state == state


def test_a_slow_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush of tens of milliseconds is a warning."""
    monkeypatch.setattr(doctor, "measure_flush", lambda _: doctor.FlushFloor(5.0, 50.0))
    finding = found(tmp_path, "flush floor")
    assert finding is not None
    assert finding.state == "warning"


@pytest.mark.parametrize(
    ("wall", "said"), [([100.0, 100.0], "not set"), ([2e9, 2e9 + 60], "moved +60")]
)
def test_a_wrong_clock_is_said(
    wall: list[float], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was never set, or that jumps, is a warning."""
    clock: Iterator[float] = iter(wall)
    monkeypatch.setattr("goclaw.doctor.time.time", lambda: next(clock))
    finding = found(tmp_path, "clock")
    assert finding is not None
    assert said in finding.says


def test_the_flush_floor_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each flush is timed; the median and the 99th percentile are given in milliseconds."""
    monkeypatch.undo()
    ticks = iter(t for i in range(10) for t in (float(i), i + 0.002))
    floor = doctor.measure_flush(tmp_path, flushes=10, clock=lambda: next(ticks))
    assert floor == (2.0, 2.0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_archived_is_said(tmp_path: Path) -> None:
    """How many segments there are, and whether history was given up; nothing where none is."""
    assert found(tmp_path, "archive") is None
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "0-1-a.segment").write_bytes(b"x" * (1 << 20))
    archive = found(tmp_path, "archive")
    assert archive is not None
    assert archive.says == "1 segments of 1.0 MiB"
    (tmp_path / "segments" / "0-2-b.baseline").write_bytes(b"x")
    archive = found(tmp_path, "archive")
    assert archive is not None
    assert "history was given up" in archive.says
