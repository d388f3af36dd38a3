"""`goclaw log archive`, `expire` and `compact`: what they print, refuse and leave behind."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.before import Before, parse_before
from goclaw.cli import main
from goclaw.datadir import DataDirectory
from goclaw.errors import UsageInvalid
from goclaw.operations.desk import EngineDesk
from goclaw_events.envelope import Position
from tests.goclaw.test_archive import check, engine_on, sums

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data directory with three runs that have ended."""
    path = tmp_path / "data"

    async def play() -> None:
        async with engine_on(path) as engine:
            for number in range(3):
                await engine.run(sums(), input={"start": number}, run_id=f"sum{number}")

    asyncio.run(play())
    return path


def called(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[str], str]:
    """Run a command of `goclaw`; return exit code, lines of stdout, and stderr."""
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out.splitlines(), out.err


def asked(capsys: pytest.CaptureFixture[str], path: Path, *args: object) -> Any:
    """Run a subcommand of `goclaw log` that succeeds; return what it says as JSON."""
    code, lines, err = called(capsys, "log", *args, "--data-dir", path, "--json")
    assert code == 0, err
    return json.loads(lines[-1])


def test_archive_expire_compact(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each says what it did; in the end the files are gone and the runs still have their ends."""
    sealed = asked(capsys, data_dir, "archive")["segments"]
    assert [(each["partition"], each["first"], each["ended"]) for each in sealed] == [(0, 1, 3)]
    assert (DataDirectory(data_dir).segments / sealed[0]["name"]).exists()
    plan = asked(capsys, data_dir, "expire", "--before", "0s", "--dry-run")
    assert plan["expired"] is False
    assert plan["partitions"][0]["runs"] == ["sum0", "sum1", "sum2"]
    assert (DataDirectory(data_dir).segments / sealed[0]["name"]).exists()
    done = asked(capsys, data_dir, "expire", "--before", "0s", "--yes")
    assert done["expired"] is True
    assert not (DataDirectory(data_dir).segments / sealed[0]["name"]).exists()
    compacted = asked(capsys, data_dir, "compact")
    assert set(compacted["bytes_before"]) == set(compacted["bytes_after"])
    assert compacted["bytes_after"]["log"] > 0
    check(data_dir)
    code, lines, _ = called(capsys, "runs", "result", "sum1", "--data-dir", data_dir)
    assert (code, json.loads(lines[-1])) == (0, {"sum": 12})
    code, lines, _ = called(capsys, "runs", "show", "sum1", "--json", "--data-dir", data_dir)
    shown = json.loads(lines[-1])
    assert (shown["status"], shown["expired"], shown["input"]) == ("completed", True, None)
    code, _, err = called(capsys, "log", "show", "--run", "sum1", "--data-dir", data_dir)
    assert code == 3
    assert "error[history_expired]" in err
    code, lines, err = called(capsys, "log", "show", "--data-dir", data_dir)
    assert code == 0
    assert "history of partition 0 begins at" in err
    assert lines
    code, _, err = called(capsys, "log", "export", "--data-dir", data_dir)
    assert (code, "error[history_expired]" in err, "goclaw backup" in err) == (3, True, True)


def test_expire_names_the_runs_and_waits_for_yes(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --yes nothing goes: exit 2, the runs on stdout, and in the error of --json."""
    asked(capsys, data_dir, "archive")
    given = ("log", "expire", "--before", "0s", "--data-dir", data_dir)
    code, lines, err = called(capsys, *given)
    assert (code, lines) == (2, ["sum0", "sum1", "sum2"])
    assert "--yes" in err
    code, lines, _ = called(capsys, *given, "--json")
    assert code == 2
    assert json.loads(lines[-1])["error"]["details"]["runs"] == ["sum0", "sum1", "sum2"]
    check(data_dir)
    assert asked(capsys, data_dir, "expire", "--before", "0s", "--dry-run")["partitions"]


def test_expire_wants_to_know_what_is_old(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither --before nor a setting: a usage error; what is young, or not archived, stays."""
    code, _, err = called(capsys, "log", "expire", "--yes", "--data-dir", data_dir)
    assert code == 2
    assert "retention.expire_after_s" in err
    assert asked(capsys, data_dir, "expire", "--before", "0s", "--yes")["partitions"] == []
    asked(capsys, data_dir, "archive")
    assert asked(capsys, data_dir, "expire", "--before", "1h", "--yes")["partitions"] == []


def test_archive_stops_where_it_is_told(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A position cuts at the frame that holds it, an age by time; nothing is done twice."""
    assert asked(capsys, data_dir, "archive", "--before", "1h")["segments"] == []
    first = asked(capsys, data_dir, "archive", "--before", "0:20")["segments"][0]
    assert first["last"] < 20
    assert asked(capsys, data_dir, "archive", "--before", "0:20")["segments"] == []
    second = asked(capsys, data_dir, "archive", "--before", "0s")["segments"][0]
    assert second["first"] == first["last"] + 1
    check(data_dir)


def test_settings_say_what_is_old(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --before, `retention` decides; a file holds at most `archive_facts_max` facts."""
    monkeypatch.setenv("GOCLAW_RETENTION__ARCHIVE_AFTER_S", "3600")
    assert asked(capsys, data_dir, "archive")["segments"] == []
    monkeypatch.setenv("GOCLAW_RETENTION__ARCHIVE_AFTER_S", "0")
    monkeypatch.setenv("GOCLAW_RETENTION__EXPIRE_AFTER_S", "0")
    monkeypatch.setenv("GOCLAW_RETENTION__ARCHIVE_FACTS_MAX", "10")
    sealed = asked(capsys, data_dir, "archive")["segments"]
    assert len(sealed) > 3
    assert [each["first"] for each in sealed[1:]] == [each["last"] + 1 for each in sealed[:-1]]
    assert len(asked(capsys, data_dir, "expire", "--yes")["partitions"][0]["segments"]) > 3
    check(data_dir)


def test_what_cannot_be_is_refused(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No log, no such partition, no such age: typed errors, and nothing is made."""
    for name, more in (("archive", ()), ("expire", ("--before", "1d")), ("compact", ())):
        code, _, err = called(capsys, "log", name, *more, "--data-dir", tmp_path / "none")
        assert code == 3
        assert "error[not_found]" in err
    assert not (tmp_path / "none").exists()
    code, _, err = called(capsys, "log", "archive", "--before", "5:1", "--data-dir", data_dir)
    assert (code, "error[not_found]" in err) == (3, True)
    code, _, err = called(capsys, "log", "archive", "--before", "soon", "--data-dir", data_dir)
    assert (code, "error[usage]" in err) == (2, True)


def test_an_engine_in_the_way_is_named(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a program has the directory and does not listen, they are refused with exit 5."""
    journal = DataDirectory(data_dir).open_journal()
    try:
        for name, more in (("archive", ()), ("expire", ("--before", "1d")), ("compact", ())):
            code, _, err = called(capsys, "log", name, *more, "--data-dir", data_dir)
            assert (code, "error[engine_running]" in err) == (5, True)
    finally:
        journal.close()


def test_an_engine_keeps_house_while_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked by another program, by its own settings; what runs goes on, and all is whole."""
    path = tmp_path / "data"
    monkeypatch.setenv("GOCLAW_RETENTION__ARCHIVE_AFTER_S", "0")
    monkeypatch.setenv("GOCLAW_RETENTION__EXPIRE_AFTER_S", "0")  # the caller's: they do not count

    async def play() -> None:
        def ask(*args: object) -> Any:
            return asyncio.to_thread(asked, capsys, path, *args)

        async with engine_on(path) as engine:
            for number in range(3):
                await engine.run(sums(), input={"start": number}, run_id=f"sum{number}")
            code, _, err = await asyncio.to_thread(
                called, capsys, "log", "expire", "--yes", "--data-dir", path
            )
            assert (code, "retention.expire_after_s" in err) == (2, True)
            later = asyncio.create_task(engine.run(sums(), input={"start": 5}, run_id="later"))
            sealed = (await ask("archive"))["segments"]
            assert [each["first"] for each in sealed] == [1]
            await later
            assert [each["ended"] >= 3 for each in sealed] == [True]
            plan = (await ask("expire", "--before", "0s", "--dry-run"))["partitions"]
            assert plan == [] or {"sum0", "sum1", "sum2"} <= set(plan[0]["runs"])
            await ask("archive")
            done = await ask("expire", "--before", "0s", "--yes")
            assert (done["expired"], done["partitions"][0]["runs_count"]) == (True, 4)
            compacted = await ask("compact")
            assert compacted["bytes_after"]["log"] > 0
            result = await engine.run(sums(), input={"start": 7}, run_id="after")
            assert result.status == "completed"

    asyncio.run(play())
    check(path)


async def test_a_log_in_memory_is_not_kept() -> None:
    """There is nothing to archive: a usage error."""
    async with goclaw.Engine(":memory:") as engine:
        with pytest.raises(UsageInvalid):
            await goclaw.Client(desk=EngineDesk(engine)).ask("log.compact")


def test_before_is_a_position_or_an_age() -> None:
    """A number with or without its partition, or a duration with a unit."""
    assert parse_before("2:41") == Before(position=Position(2, 41))
    assert parse_before("41") == Before(position=Position(0, 41))
    assert parse_before("1h30m") == Before(age_s=5400.0)
    with pytest.raises(UsageInvalid):
        parse_before("1 fortnight")
