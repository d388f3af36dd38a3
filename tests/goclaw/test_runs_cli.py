"""`goclaw runs`: what it lists and shows, which run it finds, and how it ends."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import pytest

from goclaw import asking, datadir
from goclaw.asking import ask
from goclaw.cli import main
from goclaw.cli.runs import STATUSES
from goclaw.config import Settings
from goclaw.datadir import DataDirectory
from goclaw_events import facts
from goclaw_events.errors import DirectoryBusy
from goclaw_events.loading import load_definition
from goclaw_events.plan import compile_plan, pack_plan
from goclaw_events.value import blob_of, pack
from goclaw_projections import states
from tests.projections.log_writer import LogWriter, ended, said, scheduled

if TYPE_CHECKING:
    from pathlib import Path

PLAN_BYTES = pack_plan(
    compile_plan(
        load_definition("""
name: digest
tasks:
  scan: {agent: a.scan}
  parse: {agent: a.parse, needs: [scan]}
  report: {agent: a.report, needs: [parse]}
""")
    )
)
PLAN_REF = blob_of(PLAN_BYTES)
LARGE = "x" * 100_000
LARGE_REF = blob_of(pack(LARGE))
BLOBS = {PLAN_REF.sha256: PLAN_BYTES, LARGE_REF.sha256: pack(LARGE)}


def submitted(name: str = "digest", given: Any = None, **labels: str) -> facts.RunSubmitted:
    """Return a submission of the plan."""
    return facts.RunSubmitted(PLAN_REF, name, given or {}, labels, b"d", None, "test")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return the directory of four runs: completed, failed, cancelled, running."""
    path = tmp_path / "data"
    journal = DataDirectory(path).open_journal(create=True, partitions=4)
    writer = LogWriter(journal)
    started = facts.AttemptStarted(1, 2, "n:b")
    writer.frame(said("workflow/run_good1", submitted(given={"root": "."}, team="red")),
                 said("task/run_good1/scan", scheduled("digest/io")), blobs=BLOBS)  # fmt: skip
    writer.frame(said("task/run_good1/scan", started))
    writer.frame(said("task/run_good1/scan", facts.TaskCompleted(1, 2, 1)),
                 said("workflow/run_good1", ended("scan"),
                      facts.TasksSkipped(["parse"], "condition"),
                      facts.RunCompleted({"big": LARGE_REF, "n": [1]})))  # fmt: skip
    writer.frame(said("workflow/run_bad", submitted(name="audit", team="red", tier="1")),
                 said("task/run_bad/scan", scheduled(), started))  # fmt: skip
    failed = facts.AttemptFailed(1, 2, "agent_error", "boom\x1b[31m", "trace", False, None)
    writer.frame(said("task/run_bad/scan", failed, facts.TaskFailed("agent_error", "boom")),
                 said("workflow/run_bad", ended("scan", "failed"),
                      facts.RunFailed("agent_error", "boom", "scan")))  # fmt: skip
    writer.frame(said("workflow/run_off", submitted()))
    writer.frame(said("workflow/run_off", facts.RunCancelRequested("no", "me"),
                      facts.RunCancelled("no")))  # fmt: skip
    writer.frame(said("workflow/run_good2", submitted()))
    journal.close()
    return path


def called(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[str], str]:
    """Run `goclaw runs ...`; return exit code, lines of stdout, and stderr."""
    code = main(["runs", *[str(arg) for arg in args]])
    out = capsys.readouterr()
    return code, out.out.splitlines(), out.err


def listed(capsys: pytest.CaptureFixture[str], *args: object) -> list[str]:
    """Return the ids that `runs list --json` gives."""
    code, lines, _ = called(capsys, "list", "--json", *args)
    assert code == 0
    return [run["run_id"] for run in json.loads(lines[-1])]


def test_list_as_json_is_an_array_newest_first(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each run has its id, status, name, labels, times with nine digits, duration and error."""
    code, lines, _ = called(capsys, "list", "--json", "--data-dir", data_dir)
    assert (code, len(lines)) == (0, 1)
    good2, off, bad, good1 = json.loads(lines[0])
    assert good1 == {
        "run_id": "run_good1",
        "name": "digest",
        "status": "completed",
        "version": 2,
        "labels": {"team": "red"},
        "submitted_at": "2023-11-14T22:13:21.000000000Z",
        "ended_at": "2023-11-14T22:13:23.000000000Z",
        "duration_s": 2.0,
        "error": None,
        "parent": None,
        "stuck": [],
    }
    assert (bad["status"], off["status"], good2["status"]) == ("failed", "cancelled", "running")
    assert bad["error"] == {"code": "agent_error", "message": "boom", "task": "scan"}
    assert (good2["ended_at"], good2["duration_s"]) == (None, None)


def test_list_filters(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status, name, labels and a limit narrow the list."""
    where = ("--data-dir", data_dir)
    assert listed(capsys, *where, "--status", "failed") == ["run_bad"]
    assert listed(capsys, *where, "--name", "digest") == ["run_good2", "run_off", "run_good1"]
    assert listed(capsys, *where, "--label", "team=red") == ["run_bad", "run_good1"]
    assert listed(capsys, *where, "--label", "team=red", "--label", "tier=1") == ["run_bad"]
    assert listed(capsys, *where, "--limit", 1) == ["run_good2"]
    code, _, err = called(capsys, "list", *where, "--cursor", "run_good2")
    assert (code, "'run_good2' is not the cursor of a page" in err) == (2, True)
    assert listed(capsys, *where, "--status", "failing") == []
    assert called(capsys, "list", *where, "--label", "team")[0] == 2
    assert called(capsys, "list", *where, "--status", "odd")[0] == 2


def test_list_for_people(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a line a run; what was cut off is said on stderr."""
    code, lines, err = called(capsys, "list", "--data-dir", data_dir, "--limit", 3)
    assert code == 0
    assert lines[0].split() == [
        "RUN",
        "NAME",
        "STATUS",
        "SUBMITTED",
        "TOOK",
        "CHILD",
        "OF",
        "LABELS",
    ]
    assert lines[3].split() == [
        "run_bad", "audit", "failed", "2023-11-14T22:13:24Z", "1.000s", "team=red", "tier=1",
    ]  # fmt: skip
    assert "more" in err
    _, nothing, err = called(capsys, "list", "--data-dir", data_dir, "--name", "nobody")
    assert (nothing, err) == ([], "no runs\n")


def test_show_as_json_has_run_input_result_and_every_task(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values are whole, tasks stand in the plan's order, one without a row was cancelled."""
    code, lines, _ = called(capsys, "show", "run_good1", "--json", "--data-dir", data_dir)
    record = json.loads(lines[-1])
    assert (code, len(lines)) == (0, 1)
    assert record["input"] == {"root": "."}
    assert record["result"] == {"big": LARGE, "n": [1]}
    assert record["position"].split(":")[1] == "7"
    assert record["status"] == "completed"
    assert "timeline" not in record
    assert list(record["tasks"]) == ["scan", "parse", "report"]
    assert record["tasks"]["scan"] == {
        "status": "completed",
        "attempts": 1,
        "started_at": "2023-11-14T22:13:22.000000000Z",
        "completed_at": "2023-11-14T22:13:23.000000000Z",
        "error": None,
    }
    statuses = [task["status"] for task in record["tasks"].values()]
    assert statuses == ["completed", "skipped", "cancelled"]


def test_show_timeline(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --timeline every fact of the run and its tasks stands in order."""
    where = ("--timeline", "--data-dir", data_dir)
    _, lines, _ = called(capsys, "show", "run_bad", *where, "--json")
    timeline = json.loads(lines[-1])["timeline"]
    assert [(entry["task"], entry["type"]) for entry in timeline] == [
        (None, "run.submitted"),
        ("scan", "task.scheduled"),
        ("scan", "task.attempt_started"),
        ("scan", "task.attempt_failed"),
        ("scan", "task.failed"),
        (None, "run.task_ended"),
        (None, "run.failed"),
    ]
    _, lines, _ = called(capsys, "show", "run_bad", *where)
    assert "boom [agent_error]" in "\n".join(lines)
    assert "\\x1b[31m" in "\n".join(lines)
    assert "\x1b" not in "\n".join(lines)


def test_run_is_found_by_prefix_or_as_the_last(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A beginning that one run has names it, `@last` the newest; several are named and refused."""
    where = ("--json", "--data-dir", data_dir)
    for text, wanted in (("run_b", "run_bad"), ("@last", "run_good2")):
        _, lines, _ = called(capsys, "show", text, *where)
        assert json.loads(lines[-1])["run_id"] == wanted
    code, lines, err = called(capsys, "show", "run_good", *where)
    assert code == 2
    assert "run_good1, run_good2" in err
    assert json.loads(lines[-1])["error"]["details"]["runs"] == ["run_good1", "run_good2"]


def test_unknown_run_is_not_found_with_a_suggestion(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id that no run has exits 3 and names the one probably meant."""
    code, lines, err = called(capsys, "show", "run_gud1", "--json", "--data-dir", data_dir)
    assert code == 3
    assert "did you mean 'run_good1'?" in err
    assert json.loads(lines[-1])["error"]["code"] == "run_not_found"
    code, _, err = called(capsys, "result", "zzzzzzzz", "--data-dir", data_dir)
    assert code == 3
    assert "goclaw runs list" in err


@pytest.mark.parametrize(
    ("run", "code", "said_on_stderr"),
    [
        ("run_good1", 0, ""),
        ("run_bad", 1, "boom [agent_error]"),
        ("run_off", 1, "run run_off cancelled"),
        ("run_good2", 5, "error[run_unfinished]"),
    ],
)
def test_result_is_printed_alone_or_its_absence_explained(
    data_dir: Path, capsys: pytest.CaptureFixture[str], run: str, code: int, said_on_stderr: str
) -> None:
    """A completed run's result is one JSON value; others exit 1, or 5 if they have not ended."""
    found, lines, err = called(capsys, "result", run, "--data-dir", data_dir)
    assert found == code
    assert said_on_stderr in err
    if code == 0:
        assert [json.loads(line) for line in lines] == [{"big": LARGE, "n": [1]}]
    else:
        assert lines == []


@pytest.mark.parametrize(
    ("run", "task", "code", "said_on_stderr"),
    [
        ("run_good1", "scan", 0, ""),
        ("run_good1", "parse", 1, "task parse of run run_good1 skipped"),
        ("run_bad", "scan", 1, "boom"),
        ("run_good1", "scam", 3, "did you mean 'scan'?"),
        ("run_good2", "report", 5, "task report of run run_good2 is pending"),
    ],
)
def test_the_result_of_a_task_is_printed(
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    run: str,
    task: str,
    code: int,
    said_on_stderr: str,
) -> None:
    """As it was recorded, also while its run goes on; otherwise why there is none."""
    found, lines, err = called(capsys, "result", run, "--task", task, "--data-dir", data_dir)
    assert found == code, err
    assert said_on_stderr in err
    assert lines == (["1"] if code == 0 else [])


def test_views_are_built_again_when_they_were_deleted(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder of the views may go at any time."""
    before = listed(capsys, "--data-dir", data_dir)
    shutil.rmtree(data_dir / "views")
    assert listed(capsys, "--data-dir", data_dir) == before
    assert len(before) == 4


def test_directory_in_use_or_missing(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A running engine's directory exits 5 with `engine_running`, one without a log 3."""
    journal = DataDirectory(data_dir).open_journal()
    code, lines, _ = called(capsys, "list", "--json", "--data-dir", data_dir)
    journal.close()
    assert code == 5
    assert json.loads(lines[-1])["error"]["code"] == "engine_running"
    assert called(capsys, "list", "--data-dir", tmp_path / "nothing")[0] == 3
    assert called(capsys, "list", "--data-dir", data_dir)[0] == 0


def test_two_readers_take_turns(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one waits for the first, and says what holds the directory if that takes long."""
    first = DataDirectory(data_dir).open_journal(read_only=True)
    settings = Settings(data_dir=data_dir)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(ask, settings, "runs.list", limit=1, min_position="now")
        assert not wait([second], timeout=0.2).done
        first.close()
        assert len(second.result(timeout=30)["runs"]) == 1
    first = DataDirectory(data_dir).open_journal(read_only=True)
    monkeypatch.setattr(datadir, "BUSY_S", 0.0)
    monkeypatch.setattr(asking, "STARTING_S", 0.0)
    with pytest.raises(DirectoryBusy):
        ask(settings, "runs.list", limit=1)
    first.close()


def test_no_run_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log without runs lists an empty array, and has no last run."""
    DataDirectory(tmp_path).open_journal(create=True).close()
    assert listed(capsys, "--data-dir", tmp_path) == []
    assert called(capsys, "show", "@last", "--data-dir", tmp_path)[0] == 3


def test_statuses_are_those_of_the_view() -> None:
    """The choices of --status, written down for a fast --help, are the view's."""
    assert STATUSES == states.RUN_STATES


def test_show_critical_tells_what_the_time_went_to(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step for each task of the path with seconds by kind; in sum the run's duration."""
    where = ("--data-dir", data_dir)
    code, lines, _ = called(capsys, "show", "run_good1", "--critical", "--json", *where)
    path = json.loads(lines[-1])["critical_path"]
    assert (code, path["duration_s"]) == (0, 2.0)
    assert [step["task"] for step in path["steps"]] == ["scan"]
    assert path["steps"][0]["queue_s"] == path["steps"][0]["run_s"] == 1.0
    assert sum(path["total"].values()) == 2.0
    code, lines, _ = called(capsys, "show", "run_good1", "--critical", *where)
    assert lines[-1].split() == ["total", "1.000", "1.000", *["0.000"] * 4]
    code, _, err = called(capsys, "show", "run_good2", "--critical", *where)
    assert (code, "run_unfinished" in err) == (5, True)
    code, lines, _ = called(capsys, "show", "run_off", "--critical", "--json", *where)
    assert [step["task"] for step in json.loads(lines[-1])["critical_path"]["steps"]] == [None]
