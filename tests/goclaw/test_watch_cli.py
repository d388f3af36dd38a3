"""`goclaw views`, `goclaw watch`, `plan --history` and `doctor`, with an engine and without."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw import doctor
from goclaw.agents import REGISTRY
from goclaw.cli import main
from goclaw_projections.every import all_projections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 20.0
VIEWS = [projection.name for projection in all_projections()]


class LiveEngine:
    """An engine on a thread of its own, with a run that is done and one that a gate holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gate = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))
        self._thread.start()
        assert self._ready.wait(WAIT_S)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()

        @goclaw.agent("gated", registry=REGISTRY)
        def _gated(ctx: goclaw.TaskContext) -> None:
            self.gate.wait(WAIT_S)

        quick = goclaw.Workflow("quick")
        quick.task("say", agent="goclaw.echo", with_={"text": "x"})
        held = goclaw.Workflow("held")
        held.task("wait", agent="gated")
        async with goclaw.Engine(self.path) as self.engine:
            await self.engine.run(quick, run_id="done")
            await self.engine.submit(held, run_id="held")
            self._ready.set()
            await self._over.wait()

    def submit(self, run_id: str) -> None:
        """Run another one of `quick` to its end."""
        quick = goclaw.Workflow("quick")
        quick.task("say", agent="goclaw.echo", with_={"text": "x"})
        asyncio.run_coroutine_threadsafe(self.engine.run(quick, run_id=run_id), self._loop).result(
            WAIT_S
        )

    def finish(self) -> None:
        """Let the held run end."""
        self.gate.set()
        ended = self.engine.result("held")
        asyncio.run_coroutine_threadsafe(ended, self._loop).result(WAIT_S)

    def stop(self) -> None:
        """Let what is held go, and stop. Idempotent."""
        self.gate.set()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveEngine]:
    """Return a running engine."""
    engine = LiveEngine(tmp_path / "d")
    try:
        yield engine
    finally:
        engine.stop()


def called(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[str], str]:
    """Run `goclaw ...`; return exit code, lines of stdout, and stderr."""
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out.splitlines(), out.err


def asked(capsys: pytest.CaptureFixture[str], *args: object) -> Any:
    """Return what a command that succeeds says with --json."""
    code, lines, err = called(capsys, *args, "--json")
    assert code == 0, err
    return json.loads(lines[-1])


def test_views_answer_of_a_running_engine_and_of_its_directory_alike(
    live: LiveEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status, lanes, counts, workers, attempts and a rebuild: asked of the engine, then without."""
    where = ("--data-dir", live.path)
    for running in (True, False):
        status = asked(capsys, "views", "status", *where)
        assert [view["name"] for view in status] == VIEWS
        assert all(view["state"] == "running" and view["rebuild"] is None for view in status)
        lanes = {lane["lane"]: lane for lane in asked(capsys, "views", "lanes", *where)}
        assert lanes["/default"]["running"] == int(running)
        assert lanes["/default"]["concurrency"] == 256
        assert lanes["/default"]["leased_total"] == 2
        counts = asked(capsys, "views", "counts", *where)
        assert {named["name"] for named in counts["names"]} == {"quick", "held"}
        assert counts["total"]["runs"]["completed"] == (1 if running else 2)
        assert counts["total"]["tasks"]["running"] == int(running)
        hours = asked(capsys, "views", "counts", "--by-hour", *where)
        assert sum(hour["submitted"] for hour in hours) == 2
        (worker,) = asked(capsys, "views", "workers", *where)
        assert (worker["running"], worker["completed_total"]) == (
            (1, 1) if running else (0, 2)
        )  # fmt: skip
        assert worker["state"] == ("open" if running else "closed")
        attempts = asked(capsys, "views", "workers", "--attempts", *where)
        assert [attempt["run_id"] for attempt in attempts] == (["held"] if running else [])
        rebuilt = asked(capsys, "views", "rebuild", "counts", *where)
        assert [(view["name"], view["rebuild"]) for view in rebuilt] == [("counts", None)]
        assert asked(capsys, "views", "counts", *where) == counts
        for words in (["status"], ["lanes"], ["counts"], ["counts", "--by-hour"], ["workers"]):
            code, lines, _ = called(capsys, "views", *words, *where)
            assert (code, len(lines) > 1) == (0, True), words
        code, _, err = called(capsys, "views", "rebuild", "nothing", *where)
        assert (code, "projection_not_found" in err) == (3, True)
        if running:
            live.finish()
            live.stop()


def test_every_view_is_built_again_by_one_command(
    live: LiveEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a name all of them are, one after the other."""
    rebuilt = asked(capsys, "views", "rebuild", "--data-dir", live.path)
    assert [view["name"] for view in rebuilt] == VIEWS


def test_watched_tables_print_what_changes(
    live: LiveEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each record at first, then for each that changed; the end says why it ended."""
    where = ("--data-dir", live.path, "--interval", "0.05", "--for", "0.7")
    later = threading.Timer(0.25, live.submit, ("later",))
    later.start()
    code, lines, _ = called(capsys, "watch", "runs", "--ndjson", "--json", *where)
    later.join()
    records = [json.loads(line) for line in lines]
    assert code == 0
    assert {record["run_id"] for record in records[:2]} == {"done", "held"}
    assert ("later", "completed") in [(r["run_id"], r["status"]) for r in records[2:-1]]
    assert records[-1]["ended"] == "time"
    assert records[-1]["changes"] == len(records) - 1
    assert [run["run_id"] for run in records[-1]["last"]] == ["later", "held", "done"]
    code, lines, _ = called(capsys, "watch", "lanes", "--plain", *where)
    assert (code, len(lines)) == (0, 1)
    assert lines[0].split()[:3] == ["/default", "1", "256"]


def test_watched_events_are_the_facts_from_now_on(
    live: LiveEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of before; each fact a line; `--run` keeps those of one run."""
    where = ("--data-dir", live.path, "--for", "1.0")
    later = threading.Timer(0.4, live.submit, ("later",))
    later.start()
    code, lines, _ = called(
        capsys, "watch", "events", "--ndjson", "--json", "--run", "later", *where
    )
    later.join()
    *facts, end = [json.loads(line) for line in lines]
    assert (code, end["ended"], end["changes"]) == (0, "time", len(facts))
    assert (facts[0]["type"], facts[-1]["type"]) == ("run.submitted", "run.completed")
    assert facts[0]["data"]["name"] == "quick"
    again = threading.Timer(0.4, live.submit, ("again",))
    again.start()
    code, lines, _ = called(capsys, "watch", "events", *where)
    again.join()
    assert any("run.completed" in line for line in lines)


def test_watching_ends_with_the_engine(
    live: LiveEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """When it goes away that is said; where none runs, what is there is shown once."""
    where = ("--data-dir", live.path)
    threading.Timer(0.3, live.stop).start()
    code, lines, err = called(capsys, "watch", "runs", "--interval", "0.05", "--json", *where)
    assert (code, json.loads(lines[-1])["ended"]) == (0, "engine")
    assert "went away" in err
    live.stop()
    code, lines, err = called(capsys, "watch", "runs", "--plain", *where)
    assert (code, len(lines)) == (0, 2)
    assert "no engine runs here" in err
    code, lines, _ = called(capsys, "watch", "events", "--json", *where)
    assert (code, json.loads(lines[-1])) == (0, {"changes": 0, "last": [], "ended": "offline"})


def test_watched_runs_are_drawn_on_a_terminal(
    live: LiveEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with what the lines say."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, lines, _ = called(capsys, "watch", "runs", "--for", "0.2", "--data-dir", live.path)
    assert code == 0
    assert any("held" in line for line in lines), lines


def test_doctor_asks_the_engine_that_holds_the_directory(
    live: LiveEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions, ends, lag and unfinished runs come from the engine; nothing is to be mended."""
    monkeypatch.setattr(doctor, "measure_flush", lambda _: doctor.FlushFloor(0.1, 0.2))
    report = asked(capsys, "doctor", "--data-dir", live.path)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert found["engine"]["state"] == found["views"]["state"] == "ok"
    assert {finding["state"] for finding in report["findings"]} == {"ok"}
    assert report["runs"] == {"unfinished": 1, "stuck": 0, "agents_missing": []}
    assert [view["name"] for view in report["views"]] == VIEWS


def test_history_and_the_critical_path_are_asked_of_the_engine(
    live: LiveEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What a task took weighs the plan; the path of a finished run adds up to its duration."""
    file = tmp_path / "quick.yaml"
    file.write_text("{name: quick, tasks: {say: {agent: goclaw.echo}}}")
    plan = asked(capsys, "plan", file, "--history", "--data-dir", live.path)
    assert plan["tasks"][0]["expected_from"] == "history"
    assert plan["tasks"][0]["expected_samples"] == 1
    shown = asked(capsys, "runs", "show", "done", "--critical", "--data-dir", live.path)
    path = shown["critical_path"]
    assert path["duration_s"] == pytest.approx(shown["duration_s"])
    assert sum(path["total"].values()) == pytest.approx(shown["duration_s"])
