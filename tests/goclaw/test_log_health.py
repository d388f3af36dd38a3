"""What the doctor sees in a data directory, and the bundle that it makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw import disk, doctor
from goclaw.bundle import MASK, redacted
from goclaw.cli import cli, main
from goclaw.config import Settings
from goclaw.datadir import DataDirectory
from goclaw.disk import Mount, disk_finding
from goclaw.log_health import look_at_log
from goclaw.problems import PROBLEMS
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events import facts
from goclaw_events.rocks.store import RocksStore
from goclaw_events.tables import Row, u16, u64
from goclaw_events.watermark import find_marks
from goclaw_projections.checkpoint import checkpoint_key
from goclaw_projections.rocks_store import RocksViewStore
from goclaw_projections.views import Views
from tests.goclaw.test_documents import parse
from tests.goclaw.test_runs_cli import BLOBS, submitted
from tests.projections.log_writer import T0, LogWriter, said

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw.problems import Finding

CANARY = "CANARY-4711"
STATES = {"ok", "warning", "unavailable", "damaged"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Flush a few times only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "measure_flush", lambda _: doctor.FlushFloor(0.1, 0.2))


def made(path: Path, *frames: tuple[str, Any]) -> DataDirectory:
    """Make a data directory of frames of one turn each, its views up to date."""
    directory = DataDirectory(path)
    journal = directory.open_journal(create=True)
    writer = LogWriter(journal)
    for stream, fact in frames:
        writer.frame(said(stream, fact), blobs=BLOBS)
    journal.close()  # everything is durable
    journal = directory.open_journal()
    views = Views.open(journal, directory.views)
    views.runner.catch_up()
    views.close()
    journal.close()
    return directory


def codes(findings: list[Finding]) -> dict[str, str]:
    """Return the codes of what is not ok, by name."""
    return {finding.name: finding.code for finding in findings if finding.state != "ok"}


def test_a_healthy_directory_has_nothing_to_mend(tmp_path: Path) -> None:
    """Log, views and runs are looked at; what is said has figures."""
    path = made(
        tmp_path / "d", ("workflow/r1", submitted()), ("workflow/r1", facts.RunCancelled("no"))
    ).path
    health = look_at_log(path)
    assert codes(health.findings) == {}
    assert health.log["ends"] == ["0:2"]
    assert health.log["last_fact_at"].startswith("2023-11-14")
    assert {view["name"] for view in health.views} >= {"runs", "lanes", "counts", "workers"}
    assert all(view["lag"] == [0] and not view["rebuilding"] for view in health.views)
    assert health.runs["unfinished"] == 0
    assert {finding.name for finding in health.findings} == {"log", "views", "runs"}


def test_what_is_left_to_do_is_said_with_the_agents_that_are_missing(tmp_path: Path) -> None:
    """An unfinished run is told of, with the agents that nobody registered here."""
    agents = AgentRegistry()
    workflow = goclaw.Workflow("waits")
    pause = workflow.wait("pause", "1h")
    workflow.task("then", agent="far.away", needs=[pause])

    @goclaw.agent("far.away", registry=agents)
    def _far_away(ctx: goclaw.TaskContext) -> None:
        """Do nothing."""

    async def begin() -> None:
        async with goclaw.Engine(tmp_path / "d", agents=agents) as engine:
            await engine.submit(workflow)

    asyncio.run(begin())
    health = look_at_log(tmp_path / "d")
    assert codes(health.findings) == {"runs": "runs_unfinished", "agents": "agents_missing"}
    assert (health.runs["unfinished"], health.runs["agents_missing"]) == (1, {"far.away": 1})
    broken = look_at_log(tmp_path / "d", Settings(agents={"modules": ("no_such_module",)}))  # type: ignore[arg-type]
    assert codes(broken.findings)["agents"] == "module_failed"


def test_what_could_not_be_handled_is_said(tmp_path: Path) -> None:
    """Parked messages are counted, and lanes that cannot go on are named."""
    poisoned = facts.StreamPoisoned("lane/d/io", "internal_bug", "m")
    directory = made(tmp_path / "d", ("$partition", poisoned))
    store = RocksStore(directory.log, create=False)
    store.write([Row("parked", u16(0) + u64(1), b"\xc0")])
    store.flush()
    store.close()
    health = look_at_log(directory.path)
    assert codes(health.findings) == {"messages": "messages_parked", "lanes": "lane_poisoned"}
    assert health.log["parked"] == 1


def test_views_that_must_be_built_again_are_named_and_left_as_they_are(tmp_path: Path) -> None:
    """Another version, or a database that cannot be opened; looking changes neither."""
    directory = made(tmp_path / "d", ("workflow/r1", submitted()))
    store = RocksViewStore(directory.views)
    key = checkpoint_key("lanes")
    store.write([(key, b"\xc1")])
    store.close()
    health = look_at_log(directory.path)
    assert codes(health.findings)["views"] == "views_outdated"
    store = RocksViewStore(directory.views)
    assert store.get(key) == b"\xc1"
    store.close()
    (directory.views / "CURRENT").write_text("no manifest")
    assert codes(look_at_log(directory.path).findings)["views"] == "views_unreadable"
    assert (directory.views / "CURRENT").read_text() == "no manifest"


def test_log_that_lost_what_was_acknowledged_is_damaged(tmp_path: Path) -> None:
    """Where the watermark is beyond the log's end, the exit code is 6 and the mend is fsck."""
    longer = made(tmp_path / "long", ("workflow/r1", submitted()), ("workflow/r2", submitted()))
    shorter = DataDirectory(tmp_path / "short")
    marks = find_marks(longer.watermark)
    assert marks is not None
    journal = longer.open_journal()
    log_id = journal.log_id
    journal.close()
    assert marks.log_id == log_id
    made(shorter.path, ("workflow/r1", submitted()))
    shorter.watermark.write_bytes(longer.watermark.read_bytes())
    report = doctor.examine(shorter.path)
    assert report.exit_code == 6
    assert any("fsck" in finding.mend for finding in report.findings if finding.state == "damaged")


def test_fact_from_the_future_is_a_fault_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock was set back behind the last fact."""
    path = made(tmp_path / "d", ("workflow/r1", submitted())).path
    monkeypatch.setattr(time, "time_ns", lambda: T0 - 10**10)
    assert codes(look_at_log(path).findings)["clock"] == "clock_behind_log"


@pytest.mark.parametrize(
    ("mount", "p50_ms", "code"),
    [
        (Mount("ext4", "/dev/a", ("rw",)), 0.2, ""),
        (Mount("ext4", "/dev/a", ("rw", "barrier=0")), 0.2, "flush_dishonest"),
        (Mount("ext4", "/dev/a", ("rw",)), 0.001, "flush_dishonest"),
        (Mount("tmpfs", "tmpfs", ()), 0.001, "disk_volatile"),
        (Mount("nfs4", "host:/x", ()), 2.0, "disk_network"),
        (None, None, ""),
    ],
)
def test_disk_is_judged(mount: Mount | None, p50_ms: float | None, code: str) -> None:
    """Memory, another machine, and flushes that cannot be meant are said."""
    assert disk_finding(mount, p50_ms).code == code


def test_mount_is_found_by_its_device(tmp_path: Path) -> None:
    """The line of the directory's own device counts; options of mount and file system are one."""
    device = tmp_path.stat().st_dev
    lines = [
        "1 0 0:1 / / rw - tmpfs none rw",
        f"2 1 {os.major(device)}:{os.minor(device)} / /d rw,noatime s:1 - ext4 /dev/x rw,nobarrier",
    ]
    assert disk.mount_of(tmp_path, lines) == Mount("ext4", "/dev/x", ("rw", "noatime", "nobarrier"))
    assert disk.mount_of(tmp_path, lines[:1]) is None


def test_every_problem_has_a_state_a_meaning_and_what_mends_it() -> None:
    """The index is complete, and its gaps are those that are filled."""
    for code, found in PROBLEMS.items():
        assert found.state in STATES - {"ok"}, code
        assert found.means.endswith("."), code
        assert found.mend.format(path="P", user=1, view="V", run="R", saga="S"), code
        for command in re.findall(r"goclaw ([^`,]+)", found.mend):
            words = shlex.split(command.format(path="P", user=1, view="lanes", run="R", saga="S"))
            parse(cli, "goclaw", words)


def test_bundle_holds_no_value_of_a_run_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A canary in inputs, labels, results, errors, log records and the environment stays out."""
    monkeypatch.setenv("GOCLAW_EXECUTORS__THREADS_MAX", "7")
    monkeypatch.setenv("GOCLAW_TOKEN_FOR_TESTS_UNSET", "")
    monkeypatch.setenv("MY_SECRET", CANARY)
    path = made(
        tmp_path / "d",
        ("workflow/r1", submitted(given={"key": CANARY}, team=CANARY)),
        ("task/r1/scan", facts.AttemptFailed(1, 2, "agent_error", CANARY, CANARY, False, None)),
        ("workflow/r1", facts.RunFailed("agent_error", CANARY, "scan")),
    ).path
    logs = path / "logs"
    logs.mkdir()
    records = [
        {"time": "t", "level": "error", "logger": "goclaw.engine", "event": f"it failed: {CANARY}"},
        {"time": "t", "level": "error", "logger": "goclaw.engine", "event": CANARY, "key": CANARY},
        {"time": "t", "level": "info", "logger": "goclaw_actors.executors.x",
         "event": CANARY.lower()},
        {"time": "t", "level": "info", "logger": CANARY, "event": "x"},
        {"time": "t", "level": "info", "logger": "goclaw.x", "event": "e [disk_full]: x",
         "exc_info": CANARY},
    ]  # fmt: skip
    text = "\n".join(["not json " + CANARY, f'"{CANARY}"', *map(json.dumps, records)])
    (logs / "goclaw.log").write_text(text + "\n")
    bundle = tmp_path / "b.tar.gz"
    monkeypatch.delenv("GOCLAW_TOKEN_FOR_TESTS_UNSET")
    assert main(["doctor", "--data-dir", str(path), "--bundle", str(bundle), "--json"]) == 0
    json.loads(capsys.readouterr().out)
    with tarfile.open(bundle) as archive:
        found = {
            member.name.partition("/")[2]: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
        }
    assert set(found) == {
        "doctor.json", "settings.json", "environment.json", "files.json", "log.jsonl",
    }  # fmt: skip
    for name, data in found.items():
        assert CANARY.lower().encode() not in data.lower(), name
    assert json.loads(found["doctor.json"])["log"]["ends"] == ["0:3"]
    assert json.loads(found["settings.json"])["executors"]["threads_max"] == 7
    assert "GOCLAW_EXECUTORS__THREADS_MAX" in json.loads(found["environment.json"])
    tail = [json.loads(line) for line in found["log.jsonl"].splitlines()]
    assert [(entry["logger"], entry.get("event"), entry["code"]) for entry in tail] == [
        ("goclaw.engine", "it failed", None),
        ("goclaw.engine", "", None),
        ("goclaw_actors.executors.x", None, None),
        ("goclaw.x", "e", "disk_full"),
    ]
    assert main(["doctor", "--data-dir", str(path), "--bundle", str(bundle)]) == 7
    assert "bundle_exists" in capsys.readouterr().err
    nowhere = str(bundle / "inside.tgz")
    assert main(["doctor", "--data-dir", str(path), "--bundle", nowhere]) == 5
    assert "bundle_unwritable" in capsys.readouterr().err


def test_settings_that_sound_secret_are_masked() -> None:
    """By the name of their key at any depth, and user names in addresses."""
    given = {
        "http": {"headers": {"x": CANARY}, "api_key": CANARY, "timeout_s": 3, "token": None},
        "urls": [f"nats://user:{CANARY}@host:1"],
    }
    assert redacted(given) == {
        "http": {"headers": MASK, "api_key": MASK, "timeout_s": 3, "token": None},
        "urls": [f"nats://{MASK}@host:1"],
    }
