"""Importing WfCommons instances: shape, ids and times are kept, bad files are named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from goclaw.cli import main
from goclaw.datadir import DataDirectory
from goclaw.wfformat import import_wfformat
from goclaw_events import facts
from goclaw_events.codec import FACTS
from goclaw_events.faults import InvalidDefinition
from goclaw_events.frame import decode_frame
from goclaw_events.loading import load_definition_file
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from goclaw_events.journal import Journal

ROOT = Path(__file__).parents[2]
INSTANCES = (
    Path(os.environ.get("GOCLAW_TEST_DATA") or ROOT.parent / "shared" / "data") / "wfinstances"
)
FILES = sorted(INSTANCES.glob("*.json"))


def instance(**changes: Any) -> dict[str, Any]:
    """Return a small instance: a, then b and c, then d; c knows its parent only from a."""
    tasks = [
        {"id": "a", "name": "a", "parents": [], "children": ["b", "c"]},
        {"id": "b", "name": "b", "parents": ["a"], "children": ["d"]},
        {"id": "c", "name": "c", "parents": [], "children": ["d"]},
        {"id": "d", "name": "d", "parents": ["b", "c"], "children": []},
    ]
    runtimes = {"a": 1, "b": 2.5, "c": 0, "d": 4}
    measured = [{"id": id_, "runtimeInSeconds": s} for id_, s in runtimes.items()]
    whole = {
        "name": "my instance: 1",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": tasks, "files": []},
            "execution": {"tasks": measured, "machines": []},
        },
    }
    return whole | changes


def written(tmp_path: Path, value: Any) -> Path:
    """Write a value to a file."""
    path = tmp_path / "instance.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_an_instance_becomes_a_definition(tmp_path: Path) -> None:
    """Ids and edges are kept, times are scaled, everything goes through one lane."""
    definition = import_wfformat(written(tmp_path, instance()), scale=0.5, concurrency=7)
    assert definition["name"] == "my-instance:-1"
    assert definition["lanes"]["machines"]["concurrency"] == 7
    tasks = definition["tasks"]
    assert {id_: task.get("needs", []) for id_, task in tasks.items()} == {
        "a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"],
    }  # fmt: skip
    assert [task.get("with") for task in tasks.values()] == [
        {"seconds": 0.5}, {"seconds": 1.25}, None, {"seconds": 2.0},
    ]  # fmt: skip
    assert [task["expected"] for task in tasks.values()] == [1, 2.5, 0, 4]
    assert {(task["agent"], task["lane"]) for task in tasks.values()} == {
        ("goclaw.sleep", "machines")
    }


def test_scale_zero_needs_no_times(tmp_path: Path) -> None:
    """Tasks that do nothing need no measured runtime; others do."""
    value = instance()
    del value["workflow"]["execution"]
    path = written(tmp_path, value)
    assert all("with" not in task for task in import_wfformat(path)["tasks"].values())
    with pytest.raises(InvalidDefinition, match="runtimeInSeconds") as caught:
        import_wfformat(path, scale=1)
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "syntax"),
        ("[1]", "bad_instance"),
        ({"name": "x"}, "bad_instance"),
        (instance(schemaVersion="1.4"), "bad_version"),
        (instance(workflow={"specification": {"tasks": []}}), "bad_instance"),
        (instance(workflow={"specification": {"tasks": [{"id": "a b"}]}}), "bad_id"),
        (instance(workflow={"specification": {"tasks": [{"id": "a"}] * 2}}), "duplicate_key"),
        (
            instance(workflow={"specification": {"tasks": [{"id": "a", "children": ["z"]}]}}),
            "unknown_task",
        ),
        (
            instance(workflow={"specification": {"tasks": [{"id": "a", "parents": ["z"]}]}}),
            "dangling_need",
        ),
        (
            instance(
                workflow={
                    "specification": {
                        "tasks": [{"id": "a", "parents": ["b"]}, {"id": "b", "parents": ["a"]}]
                    }
                }
            ),
            "cycle",
        ),
        (
            instance(
                workflow={
                    "specification": {"tasks": [{"id": "a"}]},
                    "execution": {"tasks": [{"id": "a", "runtimeInSeconds": -1}]},
                }
            ),
            "bad_instance",
        ),
    ],
)
def test_bad_files_are_refused_with_their_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: Any, code: str
) -> None:
    """Exit 2, and each fault says what is wrong and where."""
    exit_code = main(["import", "wfformat", str(written(tmp_path, value)), "--json"])
    error = last_json(capsys.readouterr().out)["error"]
    assert (exit_code, error["code"]) == (2, "invalid_definition")
    assert code in {fault["code"] for fault in error["details"]["faults"]}


def test_a_file_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither one to read nor one to write."""
    assert main(["import", "wfformat", str(tmp_path / "none.json")]) == 2
    path = written(tmp_path, instance())
    assert main(["import", "wfformat", str(path), "-o", str(tmp_path / "no" / "x.yaml")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_yaml_json_and_stdout_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ending chooses the form; without -o it is YAML, or with --json one line of JSON."""
    path = str(written(tmp_path, instance()))
    options = ["--scale", "0.001"]
    for name in ("out.yaml", "out.json"):
        assert main(["import", "wfformat", path, *options, "-o", str(tmp_path / name)]) == 0
    capsys.readouterr()
    main(["import", "wfformat", path, *options])
    (tmp_path / "stdout.yaml").write_text(capsys.readouterr().out)
    main(["import", "wfformat", path, *options, "--json"])
    definition = last_json(capsys.readouterr().out)
    (tmp_path / "line.json").write_text(json.dumps(definition))
    names = ("out.yaml", "out.json", "stdout.yaml", "line.json")
    loaded = [load_definition_file(tmp_path / name) for name in names]
    assert loaded == [loaded[0]] * 4
    main(["import", "wfformat", path, "-o", str(tmp_path / "again.yaml"), "--json"])
    assert last_json(capsys.readouterr().out) == {
        "file": str(tmp_path / "again.yaml"), "name": "my-instance:-1", "tasks": 4, "needs": 4,
    }  # fmt: skip


@pytest.mark.skipif(not FILES, reason="the WfCommons instances are not there")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_instances_run_whole_and_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    """Every task completes after one attempt, and none was scheduled before its parents ended."""
    data = tmp_path / "data"
    assert main(["import", "wfformat", str(path), "-o", str(tmp_path / "wf.yaml")]) == 0
    assert main(["run", str(tmp_path / "wf.yaml"), "--data-dir", str(data), "--json"]) == 0
    record = last_json(capsys.readouterr().out)
    raw = json.loads(path.read_text())["workflow"]["specification"]["tasks"]
    parents = {task["id"]: task["parents"] for task in raw}
    assert set(record["tasks"]) == set(parents)
    told = {(task["status"], task["attempts"]) for task in record["tasks"].values()}
    assert told == {("completed", 1)}
    journal = DataDirectory(data).open_journal()
    try:
        check_order(journal, parents)
    finally:
        journal.close()


def check_order(journal: Journal, parents: dict[str, list[str]]) -> None:
    """Hold the recorded facts against the parents of the instance."""
    scheduled: dict[str, int] = {}
    completed: dict[str, int] = {}
    for data in journal.frames(0):
        for number, _, fact in decode_frame(data).facts():
            said = FACTS.decode(fact.type, fact.version, fact.data)
            task = fact.stream.rpartition("/")[2]
            if isinstance(said, facts.TaskScheduled):
                scheduled[task] = number
            elif isinstance(said, facts.TaskCompleted):
                completed[task] = number
    assert set(scheduled) == set(completed) == set(parents)
    for task, before in parents.items():
        assert all(completed[parent] < scheduled[task] for parent in before)
