"""The Python builder says what a file says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from goclaw.builder import Workflow
from goclaw_events.faults import InvalidDefinition
from goclaw_events.loading import load_definition
from goclaw_events.plan import compile_plan, pack_plan


def scan_files() -> None:
    """Stand for a decorated agent."""


scan_files.__goclaw_agent__ = "digest.scan"  # type: ignore[attr-defined] # as the decorator does


def test_a_wait_and_a_deadline_last_or_end_at_a_time() -> None:
    """A `datetime` is written with its zone; a time and a duration together are refused."""
    wf = Workflow("w")
    wf.wait("t", until=datetime(2026, 12, 1, 9, tzinfo=UTC))
    text = "name: w\ntasks: {t: {wait: {until: 2026-12-01T09:00:00+00:00}}}"
    assert pack_plan(wf.plan()) == pack_plan(compile_plan(load_definition(text)))
    until = {"until": datetime(2026, 12, 1, 9, tzinfo=UTC)}
    wf.task("s", wait_for={"signal": "go", "deadline": until})
    ok = wf.task("ok", approval={"who": ["me"], "deadline": "1h"})
    wf.task("more", approval={"who": ["me"], "deadline": {"until": ok.result["reason"]}})
    text = """
    name: w
    tasks:
      t: {wait: {until: 2026-12-01T09:00:00+00:00}}
      s: {wait_for: {signal: go, deadline: {until: 2026-12-01T09:00:00+00:00}}}
      ok: {approval: {who: [me], deadline: 1h}}
      more: {approval: {who: [me], deadline: {until: "${tasks.ok.result.reason}"}}, needs: [ok]}
    """
    assert pack_plan(wf.plan()) == pack_plan(compile_plan(load_definition(text)))
    for given in ({}, {"duration": "5s", "until": "2026-12-01T09:00:00Z"}):
        with pytest.raises(TypeError, match="one of the two"):
            wf.wait("u", **given)


def test_the_builder_and_a_file_give_the_same_plan() -> None:
    """A workflow built in Python compiles to the very bytes of the one in YAML."""
    wf = Workflow("digest", on_failure="continue", labels={"team": "a"}, timeout="1h")
    wf.lane("io", concurrency=8)
    root = wf.input("root", type="string", default=".")
    scan = wf.task("scan", agent=scan_files, with_={"root": root}, lane="io", timeout="30s")
    pause = wf.wait("pause", "5s", needs=[scan])
    report = wf.task(
        "report",
        agent="digest.report",
        needs=[pause],
        with_={"first": scan.result["files"][0], "note": f"in {wf.inputs.root}"},
        when=f"{scan.result['count']} > 0",
        retry={"attempts": 3},
    )
    wf.output = {"report": report.result, "scanned": scan.status}
    text = """
    name: digest
    on_failure: continue
    timeout: 1h
    labels: {team: a}
    lanes: {io: {concurrency: 8}}
    input: {root: {type: string, default: .}}
    tasks:
      scan: {agent: digest.scan, with: {root: "${input.root}"}, lane: io, timeout: 30s}
      pause: {wait: 5s, needs: [scan]}
      report:
        agent: digest.report
        needs: [pause, scan]
        with: {first: "${tasks.scan.result.files[0]}", note: "in ${input.root}"}
        when: ${tasks.scan.result.count} > 0
        retry: {attempts: 3}
    output: {report: "${tasks.report.result}", scanned: "${tasks.scan.status}"}
    """
    assert pack_plan(wf.plan()) == pack_plan(compile_plan(load_definition(text)))


def test_needs_are_inferred_from_what_is_read() -> None:
    """Handles in `with_`, text and `when` are needed, once, after those that are named."""
    wf = Workflow("d")
    a = wf.task("a", agent="x")
    b = wf.task("b.c", agent="x")
    c = wf.task("c", agent="x", needs=["a"], with_={"v": [a.result, f"{b.result}!"]})
    wf.task("d", agent="x", with_={"w": c.result["x y"]}, when=f"{a.status} == 'completed'")
    definition = wf.definition()
    assert definition.tasks["c"].needs == ("a", "b.c")
    assert definition.tasks["d"].needs == ("c", "a")
    assert definition.tasks["d"].with_ == {"w": '${tasks.c.result["x y"]}'}


def test_other_kinds_can_be_built() -> None:
    """Exec, http, child and approval are parts of the builder like of the file."""
    wf = Workflow("d")
    scan = wf.task("scan", agent="x")
    wf.task("e", exec=["wc", "-l"], stdin=scan.result)
    wf.task("h", http={"url": "http://x", "body": {"v": scan.result}})
    wf.task("w", workflow="child", with_={"v": scan.result})
    wf.task("p", approval={"who": ["me"], "message": f"see {scan.result}"})
    tasks = wf.definition().tasks
    assert [tasks[i].needs for i in "ehwp"] == [("scan",)] * 4
    assert [tasks[i].kind for i in "ehwp"] == ["exec", "http", "workflow", "approval"]


def test_faults_of_a_built_workflow_are_reported_together() -> None:
    """What a file would be refused for, the builder is refused for."""
    wf = Workflow("d")
    wf.task("a", agent="x", needs=["b"], timeout="30x", lane="io")
    with pytest.raises(InvalidDefinition) as caught:
        wf.definition()
    codes = {fault.code for fault in caught.value.faults}
    assert codes == {"dangling_need", "bad_duration", "unknown_lane"}


def test_a_name_is_given_once() -> None:
    """A second task, lane or input of the same name is refused where it is written."""
    wf = Workflow("d")
    wf.task("a", agent="x")
    wf.lane("io")
    wf.input("n")
    for again in (lambda: wf.wait("a", 1), lambda: wf.lane("io"), lambda: wf.input("n")):
        with pytest.raises(InvalidDefinition, match="given twice"):
            again()


def test_misuse_is_told_at_once() -> None:
    """An undecorated function, an unknown input, and a value that is not there yet."""
    wf = Workflow("d")
    with pytest.raises(TypeError, match=r"@goclaw\.agent"):
        wf.task("a", agent=lambda: None)
    with pytest.raises(AttributeError, match="declare it first"):
        _ = wf.inputs.nope
    with pytest.raises(KeyError):
        _ = wf.inputs["nope"]
    handle = wf.task("b", agent="x")
    with pytest.raises(TypeError, match="test it in `when=`"):
        bool(handle.result)
    with pytest.raises(TypeError, match="iterated"):
        list(handle.result)
    assert repr(handle.result) == "Expression('${tasks.b.result}')"
    assert repr(handle) == "TaskHandle('b')"
