"""`goclaw validate`, `goclaw plan`, `goclaw schema` as a person and a program see them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from goclaw.cli import main
from goclaw.datadir import DataDirectory
from goclaw_events.facts import AttemptStarted, TaskCompleted
from tests.projections.log_writer import SECOND_NS, LogWriter, said, scheduled, submitted

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
name: digest
lanes: {io: {concurrency: 8}}
input: {root: {default: "."}}
tasks:
  scan: {agent: digest.scan, with: {root: "${input.root}"}, lane: io, expected: 2s}
  left: {agent: digest.left, needs: [scan]}
  pause: {wait: 1m, needs: [scan]}
  report: {agent: digest.report, needs: [left, pause]}
"""
BAD = "name: d\ntasks:\n  a: {agent: x, needs: [b], tiemout: 3s}\n"


@pytest.fixture
def good(tmp_path: Path) -> str:
    """Return the path of a valid file."""
    (tmp_path / "digest.yaml").write_text(GOOD)
    return str(tmp_path / "digest.yaml")


@pytest.fixture
def bad(tmp_path: Path) -> str:
    """Return the path of a file with two faults."""
    (tmp_path / "bad.yaml").write_text(BAD)
    return str(tmp_path / "bad.yaml")


def test_a_valid_file_exits_0(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The name and the counts are printed; nothing is complained about."""
    assert main(["validate", good]) == 0
    out, err = capsys.readouterr()
    assert out == f"{good}: valid: digest, 4 tasks, 4 needs\n"
    assert err == ""


def test_faults_exit_2_and_name_their_places(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fault is a line FILE:LINE:COL that an editor can jump to."""
    assert main(["validate", bad]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == f"{bad}:3:25: dangling_need: tasks.a.needs[0]: a needs 'b', which is no task"
    assert second.startswith(f"{bad}:3:29: unknown_key: tasks.a.tiemout: 'tiemout' is not a key")
    assert second.endswith("(did you mean 'timeout'?)")


def test_json_is_one_object_on_one_line(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the faults from the last line of stdout."""
    assert main(["validate", bad, "--json"]) == 2
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["valid"] is False
    assert [(f["code"], f["line"], f["column"]) for f in report["faults"]] == [
        ("dangling_need", 3, 25),
        ("unknown_key", 3, 29),
    ]
    assert set(report["faults"][0]) == {"code", "message", "path", "line", "column", "hint"}


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_file_that_is_not_there_exits_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path and the reason are named."""
    assert main([command, str(tmp_path / "nope.yaml")]) == 2
    err = capsys.readouterr().err
    assert "nope.yaml" in err
    assert "No such file" in err


def test_a_plan_is_a_table(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks by layer with lane, slack and critical path, plain when piped."""
    assert main(["plan", good]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "LAYER",
        "TASK",
        "WORK",
        "NEEDS",
        "LANE",
        "EXPECTED",
        "SLACK",
        "CRITICAL",
    ]
    assert lines[1].split() == ["0", "scan", "agent", "digest.scan", "digest/io", "2s", "0s", "*"]
    assert lines[2].split() == [
        "1",
        "left",
        "agent",
        "digest.left",
        "scan",
        "/default",
        "1s",
        "59s",
    ]
    assert lines[-1] == "critical path (3 tasks, 1m3s): scan -> pause -> report"


def test_a_plan_on_a_terminal_says_the_same(
    good: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the table is drawn, with the same cells."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["plan", good]) == 0
    out = capsys.readouterr().out
    assert "digest.scan" in out
    assert "critical path (3 tasks, 1m3s)" in out


def test_a_plan_is_json(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is one line, `--format json` the same over many."""
    assert main(["plan", good, "--json"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert main(["plan", good, "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan == json.loads(line)
    assert plan["critical_path"] == ["scan", "pause", "report"]
    assert plan["critical_path_s"] == 63.0
    assert plan["layers"] == [["scan"], ["left", "pause"], ["report"]]
    assert plan["max_parallel"] == 2
    assert plan["edges"] == 4
    by_id = {task["id"]: task for task in plan["tasks"]}
    assert by_id["left"]["slack_s"] == 59.0
    assert by_id["report"]["needs"] == ["left", "pause"]
    assert by_id["pause"]["lane"] is None


def test_a_plan_is_a_drawing(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mermaid and Graphviz draw every task and need; the critical path stands out."""
    assert main(["plan", good, "--format", "mermaid"]) == 0
    mermaid = capsys.readouterr().out.splitlines()
    assert mermaid[0] == "flowchart TD"
    assert '    t0["scan<br/>agent digest.scan"]:::critical' in mermaid
    assert "    t0 --> t1" in mermaid
    assert "    t0 ==> t2" in mermaid
    assert sum("-->" in line or "==>" in line for line in mermaid) == 4
    assert main(["plan", good, "--format", "dot"]) == 0
    dot = capsys.readouterr().out
    assert dot.startswith('digraph "digest" {')
    assert '  "scan" -> "pause" [penwidth=3];' in dot
    assert '  "scan" -> "left";' in dot
    assert dot.count("->") == 4
    assert dot.rstrip().endswith("}")


def test_an_invalid_file_has_no_plan(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report goes to stderr, and with `--json` to stdout as an error object."""
    assert main(["plan", bad, "--json"]) == 2
    out, err = capsys.readouterr()
    assert "3:25: dangling_need" in err
    error = json.loads(out)["error"]
    assert error["code"] == "invalid_definition"
    assert len(error["details"]["faults"]) == 2


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`goclaw schema workflow` is JSON Schema; `--json` puts it on one line."""
    assert main(["schema", "workflow"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["required"] == ["name", "tasks"]
    assert main(["schema", "workflow", "--json"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == schema


def test_a_plan_weighs_tasks_by_what_they_took(
    good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --history the median of past attempts decides the path; each weight says its source."""
    data_dir = tmp_path / "data"
    journal = DataDirectory(data_dir).open_journal(create=True)
    writer = LogWriter(journal)
    for number in range(3):
        writer.frame(said(f"workflow/r{number}", submitted("digest")))
        writer.frame(said(f"task/r{number}/left", scheduled(), AttemptStarted(1, 2, "n:b")))
        writer.time_ns += 99 * SECOND_NS
        writer.frame(said(f"task/r{number}/left", TaskCompleted(1, 2, None)))
    journal.close()
    assert main(["plan", good, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["critical_path"] == ["scan", "pause", "report"]
    assert main(["plan", good, "--history", "--data-dir", str(data_dir), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["critical_path"] == ["scan", "left", "report"]
    assert plan["critical_path_s"] == 103.0
    tasks = {task["id"]: task for task in plan["tasks"]}
    assert {name: task["expected_from"] for name, task in tasks.items()} == {
        "scan": "definition", "left": "history", "pause": "definition", "report": "default",
    }  # fmt: skip
    assert (tasks["left"]["expected_p90_s"], tasks["left"]["expected_samples"]) == (100.0, 3)
    assert main(["plan", good, "--history", "--data-dir", str(data_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("EXPECTED FROM")
    assert any("history: 3, p90 1m40s" in line for line in lines)
    assert main(["plan", good, "--history", "--data-dir", str(tmp_path / "none")]) == 3


def test_a_saga_is_planned_forth_and_what_undoes_it_stands_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What undoes a step takes no part in layers and the critical path; pictures dot it."""
    file = str(tmp_path / "trip.yaml")
    undo = "compensation: {agent: goclaw.echo}"
    (tmp_path / "trip.yaml").write_text(
        f"{{name: trip, steps: {{a: {{action: {{agent: goclaw.echo}}, {undo}}},"
        f" b: {{action: {{agent: goclaw.echo}}, {undo}, policy: manual, needs: [a]}},"
        " c: {action: {agent: goclaw.echo}, needs: [a]}}}"
    )
    assert main(["validate", file]) == 0
    assert capsys.readouterr().out == f"{file}: valid: saga trip, 3 steps, 2 compensations\n"
    assert main(["plan", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layers"] == [["a"], ["b", "c"]]
    assert [(one["step"], one["after"], one["policy"]) for one in found["compensations"]] == [
        ("a", ["b", "c"], "auto"),
        ("b", [], "manual"),
    ]
    assert main(["plan", file]) == 0
    assert capsys.readouterr().out.splitlines()[-2].split() == [
        "a", "agent", "goclaw.echo", "b,", "c", "/default", "auto",
    ]  # fmt: skip
    for form, line in (("mermaid", "t0 -. undone by .-> t3"), ("dot", "style=dotted")):
        assert main(["plan", file, "--format", form]) == 0
        assert line in capsys.readouterr().out
    (tmp_path / "trip.yaml").write_text("{name: t, steps: {a: {action: {agent: goclaw.echo}}}}")
    assert main(["plan", file]) == 0
    assert "Nothing is undone." in capsys.readouterr().out
