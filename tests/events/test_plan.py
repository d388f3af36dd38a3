"""The plan: compiled from definitions, packed and unpacked, asked about itself."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events.conditions import compile_condition
from goclaw_events.errors import LogDamaged, UnknownType, ValueNotStorable
from goclaw_events.faults import InvalidDefinition, InvalidInput
from goclaw_events.loading import definition_from
from goclaw_events.plan import (
    LaneLimits,
    Plan,
    RetryPolicy,
    analyse,
    check_input,
    compile_plan,
    pack_plan,
    unpack_plan,
)
from goclaw_events.templates import DICT, STATIC, Reference, compile_template


def plan_of(tasks: dict[str, Any], **head: Any) -> Plan:
    """Compile tasks under a name."""
    return compile_plan(definition_from({"name": "digest", "tasks": tasks} | head))


DIGEST: dict[str, Any] = {
    "report": {"agent": "digest.report", "needs": ["sum", "pause"], "with": {"d": "${needs}"}},
    "scan": {
        "agent": "digest.scan",
        "with": {"root": "${input.root}", "deep": [1, {"a": None}]},
        "lane": "io",
        "timeout": "30s",
        "priority": 5,
        "expected": "2s",
    },
    "sum": {
        "agent": "digest.sum",
        "needs": ["scan"],
        "when": "${tasks.scan.result.count} > 0",
        "retry": {"attempts": 4, "initial": "200ms", "max": "10s", "retry_on": ["timeout"]},
        "lane": "/shared",
    },
    "pause": {"wait": "5s", "needs": ["scan"]},
    "later": {"wait": "${tasks.scan.result.delay}", "needs": ["scan"]},
}


def digest(**head: Any) -> Plan:
    """Compile the example."""
    lanes = {"io": {"concurrency": 8, "capacity": 10}}
    return plan_of(DIGEST, lanes=lanes, input={"root": {"default": "."}}, **head)


def test_a_plan_holds_what_the_engine_needs() -> None:
    """Tasks are resolved to indexes in topological order, lanes to ids, durations to seconds."""
    plan = digest()
    assert [task.id for task in plan.tasks] == ["scan", "sum", "pause", "report", "later"]
    assert plan.index == {"scan": 0, "sum": 1, "pause": 2, "report": 3, "later": 4}
    assert plan.needs_count == [0, 1, 1, 2, 1]
    assert (plan.roots, plan.sinks) == ((0,), (3, 4))
    assert plan.lanes == {"digest/io": LaneLimits(8, 10, "reject")}
    scan, total, pause, report, later = plan.tasks
    assert (scan.lane, total.lane, report.lane, pause.lane) == (
        "digest/io",
        "/shared",
        "/default",
        "",
    )
    assert (scan.kind, scan.agent, scan.priority, scan.timeout_s) == ("agent", "digest.scan", 5, 30)
    assert (scan.dependents, report.needs, report.dependents) == ((1, 2, 4), (1, 2), ())
    assert scan.params.kind == DICT
    assert scan.params.body["root"].body == Reference("input", "", "", ("root",))
    assert total.retry == RetryPolicy(4, "exponential", 0.2, 10.0, "full", ("timeout",), ())
    assert total.when == compile_condition("${tasks.scan.result.count} > 0")
    assert (pause.kind, pause.wait) == ("wait", compile_template(5.0))
    assert later.wait == compile_template("${tasks.scan.result.delay}")
    assert (scan.expected_s, total.expected_s, pause.expected_s) == (2.0, 1.0, 5.0)
    assert (total.params, scan.wait, scan.when) == (compile_template({}), None, None)


def test_results_are_kept_only_where_they_are_read() -> None:
    """Read: by a template, a condition, `needs`, the output; or a sink without an output."""
    read = {task.id: task.result_read for task in digest().tasks}
    assert read == {"scan": True, "sum": True, "pause": True, "report": True, "later": True}
    plan = digest(output="${tasks.sum.result}")
    read = {task.id: task.result_read for task in plan.tasks}
    assert read == {"scan": True, "sum": True, "pause": True, "report": False, "later": False}
    plan = plan_of(
        {
            "a": {"agent": "x"},
            "b": {"agent": "x", "needs": ["a"], "when": "${tasks.a.status} == 'x'"},
        },
    )
    assert [task.result_read for task in plan.tasks] == [False, True]


def test_the_default_lane_is_the_definitions_own_if_it_declares_one() -> None:
    """Without a lane a task goes to `default`: the definition's, or the one shared by all."""
    plan = plan_of({"a": {"agent": "x"}}, lanes={"default": {}})
    assert plan.tasks[0].lane == "digest/default"


def test_other_kinds_of_work_are_planned() -> None:
    """What cannot run yet has a plan all the same, with its templates compiled."""
    plan = plan_of(
        {
            "e": {"exec": ["wc", "${input.f}"], "stdin": "x"},
            "h": {"http": {"url": "http://x/${tasks.e.result}"}, "needs": ["e"]},
            "w": {"workflow": "child", "with": {"a": 1}},
            "p": {"approval": {"who": ["me"], "deadline": "1h"}},
        },
        input={"f": {}},
        timeout="1h",
    )
    by_id = {task.id: task for task in plan.tasks}
    assert [by_id[i].kind for i in "ehwp"] == ["exec", "http", "workflow", "approval"]
    assert set(by_id["e"].params.body) == {"argv", "stdin"}
    assert by_id["h"].params.body["method"] == compile_template("GET")
    assert (by_id["w"].agent, by_id["w"].params.body) == ("child", {"a": 1})
    assert by_id["p"].params.kind == STATIC
    assert by_id["p"].params.body["deadline"] == 3600.0
    assert [by_id[i].lane for i in "ehwp"] == ["/default", "/default", "", ""]
    assert plan.timeout_s == 3600.0
    assert unpack_plan(pack_plan(plan)) == plan


def test_the_compiler_refuses_what_the_loader_refuses() -> None:
    """A definition changed in Python after it was loaded is checked again."""
    definition = definition_from({"name": "d", "tasks": {"a": {"agent": "x"}}})
    broken = definition.model_copy(
        update={"tasks": {"a": definition.tasks["a"].model_copy(update={"needs": ("b", "a")})}}
    )
    with pytest.raises(InvalidDefinition) as caught:
        compile_plan(broken)
    assert [fault.code for fault in caught.value.faults] == ["dangling_need", "self_dependency"]
    assert caught.value.faults[0].line == 0


def test_ids_may_hold_dots() -> None:
    """An id with a dot is written in quotes in a template."""
    plan = plan_of(
        {
            "a.b": {"agent": "x"},
            "c": {"agent": "x", "needs": ["a.b"], "with": {"v": '${tasks["a.b"].result}'}},
        }
    )
    assert plan.tasks[1].params.body["v"].body.task == "a.b"


def test_a_transitive_need_may_be_read() -> None:
    """A template reads any task that must have ended before, however far back."""
    tasks: dict[str, Any] = {"t0": {"agent": "x"}}
    for i in range(1, 50):
        tasks[f"t{i}"] = {"agent": "x", "needs": [f"t{i - 1}"], "with": {"v": "${tasks.t0.result}"}}
    assert len(plan_of(tasks).tasks) == 50


def test_a_deep_definition_costs_no_recursion() -> None:
    """A chain longer than the recursion limit compiles, packs and is analysed."""
    count = sys.getrecursionlimit() * 3
    tasks = {f"t{i}": {"agent": "x", "needs": [f"t{i - 1}"] if i else []} for i in range(count)}
    plan = plan_of(tasks)
    assert len(analyse(plan).critical_path) == count
    assert unpack_plan(pack_plan(plan)) == plan


def test_an_analysis_speaks_in_ids_and_seconds() -> None:
    """Layers, groups by lane, critical path, slack of the example."""
    found = analyse(digest())
    assert found.layers == (("scan",), ("sum", "pause", "later"), ("report",))
    assert [(group.layer, group.lane, group.tasks) for group in found.groups] == [
        (0, "digest/io", ("scan",)),
        (1, "/shared", ("sum",)),
        (1, "", ("pause", "later")),
        (2, "/default", ("report",)),
    ]
    assert found.critical_path == ("scan", "pause", "report")
    assert found.length_s == 8.0
    assert found.slack_s == {"scan": 0, "sum": 4.0, "pause": 0, "later": 5.0, "report": 0}
    assert found.start_s["report"] == 7.0
    assert found.max_parallel == 3


TASK = st.fixed_dictionaries(
    {},
    optional={
        "lane": st.sampled_from(["io", "/shared"]),
        "priority": st.integers(-1000, 1000),
        "timeout": st.sampled_from(["1s", 2.5]),
        "retry": st.fixed_dictionaries(
            {"attempts": st.integers(1, 5)}, optional={"non_retryable": st.just(["bad"])}
        ),
        "expected": st.sampled_from([0, "2s", 0.5]),
        "with": st.dictionaries(
            st.text("ab", min_size=1, max_size=2),
            st.sampled_from([1, "x", None, "${input.n}", ["${run.id}", 2.5], {"k": "a ${needs}"}]),
            max_size=2,
        ),
        "when": st.sampled_from(
            ["${input.n} > 1", "true", "not ${needs}", "${run.id} in ['a', 'b']"]
        ),
    },
)


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid definition of up to eight tasks, listed in any order."""
    count = draw(st.integers(1, 8))
    names = draw(st.permutations([f"t{i}" for i in range(count)]))
    tasks: dict[str, Any] = {}
    for at in range(count):
        needs = sorted(draw(st.sets(st.sampled_from(names[:at]), max_size=3))) if at else []
        tasks[names[at]] = {"agent": "x", "needs": needs} | draw(TASK)
    listed = draw(st.permutations(list(tasks)))
    return {
        "name": "d",
        "input": {"n": {"type": "integer", "default": 1}},
        "lanes": {"io": {}},
        "tasks": {name: tasks[name] for name in listed},
        "output": draw(st.sampled_from([None, "${input.n}", {"r": "${tasks.t0.result}"}])),
        "metadata": draw(st.sampled_from([{}, {"x": [1, {"y": None}]}])),
    }


@given(definitions())
def test_a_packed_plan_reads_back_equal(raw: dict[str, Any]) -> None:
    """Unpacking undoes packing, and one definition gives the same bytes each time."""
    plan = compile_plan(definition_from(raw))
    data = pack_plan(plan)
    assert unpack_plan(data) == plan
    assert pack_plan(unpack_plan(data)) == data
    assert pack_plan(compile_plan(definition_from(raw))) == data


@given(definitions())
def test_a_plan_is_the_graph_of_its_definition(raw: dict[str, Any]) -> None:
    """Needs come first, are those of the definition, and dependents mirror them."""
    plan = compile_plan(definition_from(raw))
    assert sorted(plan.index) == sorted(raw["tasks"])
    for task in plan.tasks:
        assert plan.tasks[plan.index[task.id]] is task
        assert [plan.tasks[i].id for i in task.needs] == raw["tasks"][task.id]["needs"]
        assert all(need < task.index for need in task.needs)
        assert all(task.index in plan.tasks[need].dependents for need in task.needs)
        assert plan.needs_count[task.index] == len(task.needs)
    assert sum(plan.needs_count) == sum(len(task.dependents) for task in plan.tasks)


def test_what_is_no_plan_is_refused() -> None:
    """Foreign bytes, a cut plan and a version of the future have typed errors."""
    data = pack_plan(digest())
    for damaged in (b"", b"x" * 40, data[:-1], data[:12], data[:12] + b"\x93\x01\x02\x03"):
        with pytest.raises(LogDamaged):
            unpack_plan(damaged)
    with pytest.raises(UnknownType, match="version 11"):
        unpack_plan(data[:11] + b"\x0b" + data[12:])


def test_a_wait_until_a_time_is_written_in_a_version_of_its_own() -> None:
    """An older build refuses the plan, and does not take the time for a duration."""
    until = {"until": "2026-12-01T09:00:00+01:00"}
    lasting = pack_plan(plan_of({"w": {"wait": "5s"}}))
    data = pack_plan(plan_of({"w": {"wait": until}, "v": {"wait": {"until": "${run.id}"}}}))
    assert (lasting[11], data[11]) == (1, 7)
    assert [task.wait for task in unpack_plan(data).tasks] == [
        compile_template(until),
        compile_template({"until": "${run.id}"}),
    ]


def test_a_deadline_of_an_answer_at_a_time_is_written_in_a_version_of_its_own() -> None:
    """An older build refuses the plan; what has a plain duration is written as it always was."""
    until = {"until": "2026-12-01T09:00:00+01:00"}

    def written(deadline: Any) -> bytes:
        ask = {"approval": {"who": ["me"], "deadline": deadline}}
        return pack_plan(
            plan_of(
                {"w": {"wait_for": {"signal": "s", "deadline": deadline}}, "ok": ask},
                input={"s": {}},
            )
        )

    data = written(until)
    assert [written(said)[11] for said in ("3d", until, "${input.s}")] == [7, 10, 10]
    each = {"foreach": [1, 2], "approval": {"who": ["me"], "deadline": until}}
    assert pack_plan(plan_of({"w": each}))[11] == 10
    tasks = unpack_plan(data).tasks
    assert [task.wait for task in tasks] == [compile_template(until)] * 2
    assert [task.params.body["deadline"] for task in tasks] == [None, None]
    assert [task.params.body["deadline"] for task in unpack_plan(written("3d")).tasks] == [
        259_200
    ] * 2


def test_what_cannot_be_stored_is_refused_when_packed() -> None:
    """Metadata handed over in Python is checked before it reaches a log."""
    plan = plan_of({"a": {"agent": "x"}}, metadata={"x": object()})
    with pytest.raises(ValueNotStorable):
        pack_plan(plan)


INPUTS: dict[str, Any] = {
    "s": {"type": "string"},
    "i": {"type": "integer", "default": 3},
    "f": {"type": "number", "default": None},
    "b": {"type": "boolean", "required": False},
    "o": {"type": "object", "default": {}},
    "a": {"type": "array", "default": []},
    "x": {},
}


def test_input_is_filled_with_defaults() -> None:
    """What is not given has its default, in the order of the declaration."""
    plan = plan_of({"a": {"agent": "x"}}, input=INPUTS)
    given_ = {"x": [1], "s": "t", "f": 2}
    assert check_input(plan, given_) == {
        "s": "t",
        "i": 3,
        "f": 2,
        "b": None,
        "o": {},
        "a": [],
        "x": [1],
    }
    assert check_input(plan, given_ | {"f": None, "b": None})["f"] is None
    assert check_input(unpack_plan(pack_plan(plan)), given_) == check_input(plan, given_)


def test_every_fault_of_an_input_is_reported() -> None:
    """Unknown names, missing values and wrong types are in one report."""
    plan = plan_of({"a": {"agent": "x"}}, input=INPUTS)
    wrong = {"ss": 1, "i": True, "f": "1", "b": 0, "o": [], "a": {}, "x": None}
    with pytest.raises(InvalidInput) as caught:
        check_input(plan, wrong)
    assert [(fault.code, fault.path) for fault in caught.value.faults] == [
        ("unknown_input", ""),
        ("missing_input", "input.s"),
        ("bad_type", "input.i"),
        ("bad_type", "input.f"),
        ("bad_type", "input.b"),
        ("bad_type", "input.o"),
        ("bad_type", "input.a"),
    ]
    assert caught.value.code == "invalid_input"
    with pytest.raises(InvalidInput, match="'i' should be of type integer"):
        check_input(plan, {"s": "", "x": 1, "i": None})


@pytest.mark.parametrize(
    ("said", "max_s"),
    [({}, 60.0), ({"initial": "1h"}, 3600.0), ({"initial": "1h", "max": "5m"}, 300.0)],
)
def test_a_first_wait_is_not_cut_short_by_a_bound_that_nobody_set(
    said: dict[str, Any], max_s: float
) -> None:
    """The default bound of a minute is meant for waits that grow."""
    plan = plan_of({"a": {"agent": "x", "retry": {"attempts": 2, **said}}})
    assert plan.tasks[0].retry.max_s == max_s
