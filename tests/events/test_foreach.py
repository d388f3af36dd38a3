"""What a definition says of the items of a list, and the plan of the run that works on them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events.errors import LogDamaged
from goclaw_events.faults import InvalidDefinition
from goclaw_events.items import ITEMS_MAX, PARALLEL_ANSWERED
from goclaw_events.loading import definition_from
from goclaw_events.plan import (
    Plan,
    awaited_by,
    compile_plan,
    has_own_names,
    lists_awaiting,
    mapped_ref,
    pack_plan,
    plan_at,
    schema_of,
    unpack_plan,
    work_of,
)
from goclaw_events.plan.packing import MAGIC
from goclaw_events.value import blob_of, pack, unpack

FETCH: dict[str, Any] = {
    "foreach": "${tasks.scan.result.urls}",
    "agent": "x.fetch",
    "with": {"url": "${item.url}", "at": "${index}", "key": "${input.key}", "of": "${needs.scan}"},
    "needs": ["scan"],
    "lane": "io",
    "timeout": "5s",
    "retry": {"attempts": 3},
    "parallel": 4,
    "on_item_failure": "continue",
    "item_failures_max": 2,
    "item_results": "outcomes",
}


def plan_of(fetch: dict[str, Any]) -> Plan:
    """Compile a definition with a task over a list, as the log gives it back."""
    tasks = {"scan": {"agent": "x.scan"}, "fetch": fetch}
    head = {"name": "w", "lanes": {"io": {}}, "input": {"key": {"default": 1}}}
    return unpack_plan(pack_plan(compile_plan(definition_from({**head, "tasks": tasks}))))


def faults_of(**changes: Any) -> list[str]:
    """Return the codes of the faults of a definition, each with its place."""
    fetch = {key: value for key, value in {**FETCH, **changes}.items() if value is not None}
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(fetch)
    return [f"{fault.code} {fault.path}" for fault in caught.value.faults]


def test_what_is_done_for_an_item_stands_in_the_task() -> None:
    """Lane, retries, timeout are each item's; the task over the list has none of its own."""
    task = plan_of(FETCH).tasks[1]
    assert (task.kind, task.lane, task.timeout_s, task.retry.attempts_max) == (
        "foreach",
        "",
        None,
        1,
    )
    assert task.foreach is not None
    item = work_of(task)
    assert (item.kind, item.agent, item.lane) == ("agent", "x.fetch", "w/io")
    assert (item.timeout_s, item.retry.attempts_max, item.needs) == (5.0, 3, ())
    assert task.foreach[1:] == (4, "continue", 2, True)


def test_a_plan_without_a_list_is_written_as_before() -> None:
    """The bytes of other plans, and so their hashes, stay what they were."""
    plain = {"agent": "x.fetch", "needs": ["scan"]}
    assert pack_plan(plan_of(plain))[len(MAGIC)] == 1
    assert pack_plan(plan_of(FETCH))[len(MAGIC)] == 9


def test_faults_are_told_with_their_places() -> None:
    """What has no meaning, or is no list, is refused before anything runs."""
    base = "tasks.fetch"
    assert faults_of(foreach=None) == [
        f"not_applicable {base}.parallel", f"not_applicable {base}.on_item_failure",
        f"not_applicable {base}.item_failures_max", f"not_applicable {base}.item_results",
        f"bad_template {base}.with.url", f"bad_template {base}.with.at",
    ]  # fmt: skip
    assert faults_of(foreach="urls") == [f"bad_value {base}.foreach"]
    assert faults_of(foreach=[None] * (ITEMS_MAX + 1)) == [f"too_large {base}.foreach"]
    assert faults_of(foreach="${item}") == [f"bad_template {base}.foreach"]
    assert faults_of(when="${item.ok}") == [f"bad_template {base}.when"]
    assert faults_of(on_item_failure="fail_fast") == [f"not_applicable {base}.item_failures_max"]
    assert faults_of(parallel=0) == [f"bad_value {base}.parallel"]
    with_ = {"url": "${index.x}"}
    assert faults_of(**{"with": with_}) == [f"bad_template {base}.with.url"]
    other = {"agent": None, "with": None, "timeout": None, "lane": None}
    collect = {"tasks": ["scan"], "members": ["${item}"]}
    assert faults_of(**other, collect=collect) == [f"not_applicable {base}.collect.tasks"]
    other["retry"] = None
    for name, code in (("${input.key}", "bad_template"), ("$${x", "bad_value"), ("a b", "bad_id")):
        wait_for = {"foreach": None, "wait_for": {"signal": name}, "parallel": None}
        rules = dict.fromkeys(("on_item_failure", "item_failures_max", "item_results"))
        found = faults_of(**{**other, **wait_for, **rules})
        assert found == [f"{code} {base}.wait_for.signal"]


ASKED: dict[str, Any] = {"foreach": "${tasks.scan.result}", "needs": ["scan"]}


def test_what_waits_for_others_is_asked_all_at_once() -> None:
    """It takes no slot: unless it is said otherwise a thousand wait at a time."""
    for work in ({"wait_for": {"signal": "go"}}, {"approval": {"who": ["anyone"]}}):
        for said, most in (({}, PARALLEL_ANSWERED), ({"parallel": 3}, 3)):
            foreach = plan_of({**ASKED, **work, **said}).tasks[1].foreach
            assert foreach is not None
            assert foreach.parallel == most


@pytest.mark.parametrize(
    ("signal", "heard", "unheard"),
    [
        ("go", ["go"], ["go2", "g"]),
        ("go-${item}", ["go-", "go-1"], ["go", "1"]),
        ("${item}.x", ["1.x"], ["1.y"]),
        ("a-${item}-${index}-b", ["a-1-2-b"], ["a-1", "1-b"]),
        ("${item}", ["anything"], []),
    ],
)
def test_which_signals_items_may_wait_for(
    signal: str, heard: list[str], unheard: list[str]
) -> None:
    """Of a name of its own it is known how it begins and ends, before the items are."""
    plan = plan_of({**ASKED, "wait_for": {"signal": signal, "schema": {"type": "number"}}})
    items = plan_at(plan, mapped_ref(blob_of(pack_plan(plan)), "fetch", 3))
    for name in heard:
        assert list(awaited_by(items, name)) == [0, 1, 2]
        assert lists_awaiting(plan, name) == ["fetch"]
    for name in unheard:
        assert not awaited_by(items, name)
        assert not lists_awaiting(plan, name)
    assert has_own_names(items) == ("${" in signal)
    assert lists_awaiting(items, heard[0]) == []
    assert not awaited_by(plan, heard[0])
    assert schema_of(work_of(plan.tasks[1])) == {"type": "number"}


def test_the_plan_of_the_items_follows_from_a_reference() -> None:
    """Nothing is stored for it: the definition, the task and the number of items say it."""
    plan = plan_of(FETCH)
    ref = mapped_ref(blob_of(pack_plan(plan)), "fetch", 3)
    assert unpack(pack(ref)) == ref
    items = plan_at(plan, ref)
    assert [task.id for task in items.tasks] == ["fetch:0", "fetch:1", "fetch:2"]
    assert list(items.roots) == [0, 1, 2]
    assert (items.name, items.on_failure, items.lanes) == ("w", "continue", {})
    assert plan_at(plan, blob_of(b"")) is plan
    for path in (("foreach", "scan", 1), ("foreach", "none", 1), ("other",)):
        with pytest.raises(LogDamaged):
            plan_at(plan, type(ref)(ref.sha256, ref.size, path))


@given(count=st.integers(0, 2_000), asked=st.lists(st.integers(-2_100, 2_100), max_size=20))
def test_items_are_a_sequence_and_an_index(count: int, asked: list[int]) -> None:
    """They answer as a tuple of that many tasks would, and a dict of their ids."""
    plan = plan_of(FETCH)
    items = plan_at(plan, mapped_ref(blob_of(pack_plan(plan)), "fetch", count))
    assert len(items.tasks) == len(items.index) == count
    for at in asked:
        if -count <= at < count:
            task = items.tasks[at]
            assert task.index == at % count
            assert items.index[task.id] == at % count
        else:
            with pytest.raises(IndexError):
                items.tasks[at]
            assert f"fetch:{abs(at)}" not in items.index or abs(at) < count
    for unknown in ("fetch", "fetch:", "fetch:01", "fetch:-1", f"fetch:{count}", "x:0", "fetch:٣"):
        assert unknown not in items.index
