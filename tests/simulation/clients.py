"""Whoever sends commands: what they sent, what they were told, and that it may be told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message, Reply
from goclaw_actors.messages import CancelRun, SubmitRun
from goclaw_events.ids import workflow_stream
from goclaw_events.plan import Plan, pack_plan, plan_at, unpack_plan
from goclaw_events.value import BlobRef, blob_of
from tests.simulation.travellers import scheduled_saga
from tests.simulation.workload import CHILD, LARGE, TRIP, child_plan, random_plan

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef
    from tests.simulation.world import World


OF_A_NEW_COMMAND = ("run_finished", "run_not_found")


class Submission(NamedTuple):
    """A request for a run, with its compiled plan."""

    plan: Plan
    packed: bytes
    body: SubmitRun


class Clients:
    """Send commands to the node of the moment; check each answer as it comes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.submitted: dict[str, list[Submission]] = {}
        child = child_plan()
        self._child_packed = pack_plan(child)
        self._child = blob_of(self._child_packed)
        self._trip_packed = b""
        self.plans: dict[bytes, Plan] = {self._child.sha256: child}
        self.acknowledged: dict[str, bytes] = {}
        self.cancelled: dict[tuple[str, str], bytes] = {}
        self.answered: set[str] = set()

    @property
    def child(self) -> tuple[BlobRef, bytes, str]:
        """Return a small plan, where it is, and what it is called."""
        return self._child, self._child_packed, CHILD

    def plan_of(self, ref: BlobRef) -> Plan:
        """Return the plan that a reference names, also that of the items of a list."""
        return plan_at(self.plans[ref.sha256], ref)

    def submit(self, run_id: str, variant: int = 0) -> None:
        """Submit a run, or the same one again; another variant is another request."""
        known = self.submitted.setdefault(run_id, [])
        while len(known) <= variant:
            known.append(self._request(run_id, len(known)))
        plan, packed, body = known[variant]
        message = Message(workflow_stream(run_id), body)
        message.blobs = {body.definition.sha256: packed, self._child.sha256: self._child_packed}
        if TRIP in (body.children or {}):
            message.blobs[(body.children or {})[TRIP].sha256] = self._trip_packed
        self.world.contents.hold(body.definition, plan)
        message.reply_to = lambda reply: self._submit_answered(run_id, body.digest, reply)
        self.world.node.accept(message)

    def _request(self, run_id: str, variant: int) -> Submission:
        options = self.world.options
        rng = random.Random(f"{self.world.seed} {run_id} {variant}")
        plan = random_plan(rng, options)
        packed = pack_plan(plan)
        ref = blob_of(packed)
        self.plans[ref.sha256] = plan
        children = {CHILD: self._child}
        if options.rate("saga"):
            children[TRIP], self._trip_packed, _ = scheduled_saga(self.world)
            self.plans[children[TRIP].sha256] = unpack_plan(self._trip_packed)
        given = {"text": LARGE} if options.rate("large") and rng.random() < 0.1 else {}
        digest = f"{run_id} {variant}".encode()
        body = SubmitRun(
            ref,
            plan.name,
            given,
            {"tenant": "ab"[variant % 2]},
            digest,
            None,
            "sim",
            children=children,
        )
        return Submission(plan, packed, body)

    def cancel(self, run_id: str, which: int, digest: bytes = b"cancel") -> None:
        """Ask for a run to be cancelled, under one of several command ids."""
        stream, command_id = workflow_stream(run_id), f"cancel-{which}"
        message = Message(stream, CancelRun("sim", "sim"))
        message.command_id = command_id
        message.digest = digest
        message.reply_to = lambda reply: self._cancel_answered(run_id, command_id, digest, reply)
        self.world.node.accept(message)

    # -- answers -------------------------------------------------------------------------------

    def _submit_answered(self, run_id: str, digest: bytes, reply: Reply) -> None:
        world = self.world
        world.points.hit("reply")
        if isinstance(reply.answer, Refused):
            self.check_refused(reply.answer, run_id)
            if reply.answer.code == "command_conflict":
                assert self.acknowledged.get(run_id) != digest, f"{run_id} conflicts with itself"
                assert len(self.submitted[run_id]) > 1, f"{run_id} was submitted in one way only"
                self.answered.add(run_id)
            return
        self.check_durable(workflow_stream(run_id), reply)
        known = self.acknowledged.setdefault(run_id, digest)
        assert known == digest, f"{run_id} was accepted with two different requests"
        self.answered.add(run_id)
        world.note("submission accepted", run_id)
        if reply.answer.repeated:
            world.note("repeated submission answered", run_id)
        world.points.hit("after reply")

    def _cancel_answered(self, run_id: str, command_id: str, digest: bytes, reply: Reply) -> None:
        world = self.world
        world.points.hit("reply")
        known = self.cancelled.get((workflow_stream(run_id), command_id))
        if isinstance(reply.answer, Refused):
            if known is not None and reply.answer.code in OF_A_NEW_COMMAND:
                raise AssertionError(f"{command_id} of {run_id} was accepted, now {reply.answer}")
            if reply.answer.code == "run_not_found":
                assert run_id not in self.acknowledged, f"{run_id} was accepted and is not found"
            self.check_refused(reply.answer, run_id)
            return
        assert known in (None, digest), f"{command_id} of {run_id} was accepted with two bodies"
        stream = workflow_stream(run_id)
        self.check_durable(stream, reply)
        if reply.answer.repeated:
            world.note("repeated cancel answered", run_id)
        else:
            assert known is None, f"{command_id} of {run_id} was accepted twice"
            self.cancelled[(stream, command_id)] = digest
            world.note("cancel accepted", run_id)
        world.points.hit("after reply")

    def check_durable(self, stream: str, reply: Reply) -> None:
        """Check that what is answered cannot be lost any more."""
        assert isinstance(reply.answer, Accepted)
        position = reply.position
        assert position is not None, f"an answer of {stream} has no position"
        durable = self.world.journal.durable(position.partition)
        assert position.number <= durable, f"{stream} answers {position}, durable is {durable}"

    def check_refused(self, refused: Refused, run_id: str) -> None:
        """Check that a refusal is one that may come up here."""
        options = self.world.options
        failing = self.world.commits_failed or options.rate("eio")
        allowed: dict[str, Any] = {
            "command_conflict": options.rate("conflict"),
            "outcome_unknown": failing,
            "disk_full": failing,
            "journal_unavailable": failing,
            "busy": options.commands_max < 100,
            "run_not_found": True,
            "run_finished": run_id in self.submitted,
            "internal_bug": options.rate("bug"),
            "stream_poisoned": options.rate("bug"),
            "history_full": options.history_facts_max < 50_000,
            "path_busy": options.rate("path"),
            "lane_not_found": run_id.startswith("lane/"),
            "lane_changed": run_id.startswith("lane/"),
        }
        assert allowed.get(refused.code), f"{run_id} was refused: {refused}"
        self.world.note(f"refused: {refused.code}", run_id)
