"""The versions of a plan: what is written of a change, and what is read of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.errors import LogDamaged
from goclaw_events.faults import InvalidDefinition
from goclaw_events.plan import in_order, pack_plan, pack_version, read_plan
from goclaw_events.plan.fragment import Selection, compile_change, fragment_from, load_fragment
from goclaw_events.plan.versions import DEPTH_MAX
from goclaw_events.value import BlobRef, blob_of, references, unpack
from tests.actors.given import plan_of

if TYPE_CHECKING:
    from goclaw_events.plan import Plan

CHAIN: dict[str, Any] = {
    "a": {"agent": "x"},
    "b": {"agent": "x", "needs": ["a"]},
    "c": {"agent": "x", "needs": ["b"]},
}


class Blobs:
    """Blobs by reference, and how often each was read."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.reads = 0

    def put(self, data: bytes) -> BlobRef:
        """Keep a blob."""
        ref = blob_of(data)
        self.kept[ref.sha256] = data
        return ref

    def load(self, ref: BlobRef) -> bytes:
        """Return a blob."""
        self.reads += 1
        return self.kept[ref.sha256]

    def read(self, ref: BlobRef) -> Plan:
        """Return the plan of a blob, with nothing known."""
        return read_plan(self.load(ref), self.load, lambda _: None)


def ids(plan: Plan) -> list[str]:
    """Return the tasks of a plan."""
    return [task.id for task in plan.tasks]


def test_a_small_change_of_a_large_plan_is_small() -> None:
    """One task more of 10,000 is written in a kilobyte, and so is each of a thousand changes."""
    plan = plan_of({f"t{number}": {"agent": "x"} for number in range(10_000)})
    blobs = Blobs()
    ref = whole = blobs.put(pack_plan(plan))
    sizes = []
    for number in range(2 * DEPTH_MAX):
        made = compile_change(plan, fragment_from({"tasks": {f"n{number}": {"agent": "x"}}}))
        data = pack_version(made.plan, made.change, ref, blobs.kept[ref.sha256])
        ref, plan = blobs.put(data), made.plan
        sizes.append(len(data))
    assert sorted(sizes)[-3] < 1_000
    assert sum(sizes) < 3 * whole.size
    blobs.reads = 0
    assert blobs.read(ref) == plan
    assert blobs.reads <= DEPTH_MAX + 2


def test_a_version_names_the_one_before() -> None:
    """Whoever looks for references finds it, so that no blob of a chain is thrown away."""
    plan = plan_of({f"t{number}": {"agent": "x"} for number in range(100)})
    blobs = Blobs()
    ref = blobs.put(pack_plan(plan))
    made = compile_change(plan, fragment_from({"tasks": {"n": {"agent": "x"}}}))
    data = pack_version(made.plan, made.change, ref, blobs.load(ref))
    assert [found.sha256 for found in references(unpack(data))] == [ref.sha256]
    assert made.plan.tasks[3] is plan.tasks[3]


@pytest.mark.parametrize("data", [b"", b"\x01", b"goclaw.plan", b"\x93\x01\x02\x03"])
def test_what_is_no_plan_is_damaged(data: bytes) -> None:
    """Anything else is told, and not read as one."""
    with pytest.raises(LogDamaged):
        read_plan(data, Blobs().load, lambda _: None)


def test_removed_tasks_keep_their_places() -> None:
    """Indexes stay, what is needed by nothing changes, and people see the plan without them."""
    plan = plan_of(CHAIN)
    fragment = fragment_from({"tasks": {"d": {"agent": "x", "needs": ["a"]}}})
    made = compile_change(plan, fragment, Selection(frozenset({1, 2})))
    assert ids(made.plan) == ["a", "b", "c", "d"]
    assert made.plan.sinks == (3,)
    assert made.plan.tasks[0].dependents == (3,)
    assert ids(in_order(made.plan)) == ["a", "d"]
    blobs = Blobs()
    ref = blobs.put(pack_plan(plan))
    assert blobs.read(blobs.put(pack_version(made.plan, made.change, ref, pack_plan(plan)))) == (
        made.plan
    )


def test_results_that_are_read_from_now_on_are_kept() -> None:
    """A result that only a new task reads is kept where it is still to come."""
    plan = plan_of(CHAIN)
    assert not plan.tasks[0].result_read
    raw = {"tasks": {"d": {"agent": "x", "needs": ["a"], "with": {"n": "${tasks.a.result}"}}}}
    made = compile_change(plan, fragment_from(raw))
    assert made.read == ["a"]
    assert made.plan.tasks[0].result_read
    assert made.plan.tasks[3].result_read


def test_faults_of_a_fragment_have_their_places() -> None:
    """Fields are checked as those of a definition are."""
    with pytest.raises(InvalidDefinition) as caught:
        load_fragment("tasks:\n  d: {agnt: x}\n", "yaml", "more.yaml")
    assert [(fault.code, fault.line) for fault in caught.value.faults] == [("unknown_key", 2)]
