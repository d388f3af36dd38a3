"""What changes the path of a run, and what shows how it was changed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, model_validator

from goclaw.children import children_of
from goclaw.errors import NotFound
from goclaw.following import follow_log
from goclaw.operations.operation import Params, act, read
from goclaw.operations.runs import NameRun
from goclaw.operations.signals import REASON_CHARS_MAX, SENDER_CHARS_MAX
from goclaw.operations.work import Document
from goclaw.render_plan import plan_as_json
from goclaw.results import CommandRefused
from goclaw.run_records import path_record
from goclaw.submission import prepared_of
from goclaw.weights import weights_of
from goclaw_actors.alive import loaded
from goclaw_actors.decider import Moment, Refused
from goclaw_actors.path_order import Choice, Order, Wanted, digest_of, order_change
from goclaw_actors.workflow.path import APPLIED, WAITS
from goclaw_events.facts import PathChangeAsked
from goclaw_events.faults import InvalidDefinition
from goclaw_events.ids import check_id, task_stream, workflow_stream
from goclaw_events.loading import locate
from goclaw_events.plan import analyse, in_order
from goclaw_events.plan.fragment import fragment_from, load_fragment

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground
    from goclaw.parts import Parts
    from goclaw_actors.workflow.state import Run
    from goclaw_events.plan import Plan

TRIES_MAX: Final = 5
"""A change that was made against a plan that another change replaced is made anew."""


IDLE_S: Final = 1.0
"""So long is waited for tasks where no engine runs: those in a lane answer at once."""


class Branch(Params):
    """Of the tasks that need `after`, which are to run."""

    after: str
    """The task before them."""
    take: list[str]
    """Those that run."""


class ChangePath(Params):
    """What is to change in a run."""

    run_id: str
    """The id of the run."""
    change_id: str
    """The same change again gives the first answer."""
    skip: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Tasks to pass over, each with the result that those see that need it."""
    choose: Branch | None = None
    """A branch to take."""
    rerun: Annotated[list[str], Field(default_factory=list)]
    """Tasks to run again, with all that depends on them."""
    fragment: dict[str, Any] | None = None
    """Tasks and needs to add."""
    document: Document | None = None
    """Or the same as text."""
    replace: bool = False
    """Put the fragment in the place of all that has not begun."""
    if_version: int | None = None
    """Only if the plan has this version."""
    dry_run: bool = False
    """Change nothing: say what would be."""
    sender: Annotated[str, Field(max_length=SENDER_CHARS_MAX)] = ""
    """Who says it; it is recorded."""
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """Why; it is recorded."""
    timeout_s: Annotated[float, Field(ge=0)] = 30.0
    """Wait at most so long for tasks that have to answer."""

    @model_validator(mode="after")
    def _something(self) -> ChangePath:
        given = (self.fragment, self.document)
        if None not in given:
            raise ValueError("give either `fragment` or `document`")
        if not (self.skip or self.choose or self.rerun or given != (None, None)):
            raise ValueError("nothing is to change")
        if self.replace and given == (None, None):
            raise ValueError("`replace` needs a fragment")
        return self


class ShowPath(NameRun):
    """Which run, and which version of its plan."""

    version: int | None = None
    """None: the last one."""


async def _change(engine: Engine, asked: ChangePath) -> dict[str, Any]:
    check_id(asked.change_id, "change id")
    check_id(asked.run_id, "run id")
    wanted = _wanted(asked)
    if asked.dry_run:
        return await asyncio.to_thread(_dry, engine, asked, wanted)
    for tries in range(TRIES_MAX):
        end = engine.parts.tail.end()
        order = await asyncio.to_thread(_order, engine, asked, wanted)
        if order is None:  # it was asked for before
            return await _outcome(engine, asked, end, repeated=True)
        try:
            stream = workflow_stream(asked.run_id)
            command = order.command
            accepted, _ = await engine.command(stream, command, asked.change_id, blobs=order.blobs)
        except CommandRefused as refused:
            again = refused.code == "plan_changed" and asked.if_version is None
            if not again or tries + 1 == TRIES_MAX:
                raise
        else:
            return await _outcome(engine, asked, end, repeated=accepted.repeated)
    raise AssertionError(TRIES_MAX)


def _wanted(asked: ChangePath) -> Wanted:
    """Return what is wanted; raises `InvalidDefinition` for a fragment whose fields are wrong."""
    said = asked.model_dump(
        include={"skip", "choose", "rerun", "fragment", "document", "replace"},
        exclude_defaults=True,
    )
    fragment, place = None, None
    if asked.document is not None:
        text, text_format = asked.document.text, asked.document.format
        fragment = load_fragment(text, text_format, asked.document.source)
        said["document"] = text
        place = lambda found: locate(found, text, text_format)  # noqa: E731 - it has no other name
    elif asked.fragment is not None:
        fragment = fragment_from(asked.fragment)
    choose = None
    if asked.choose is not None:
        choose = Choice(asked.choose.after, tuple(asked.choose.take))
    return Wanted(asked.skip, choose, tuple(asked.rerun), fragment, asked.replace, said, place)


def _run(parts: Parts, run_id: str) -> Run:
    """Return a run as its durable facts have it; raises `RunNotFound`."""
    parts.plan_of(run_id)
    found: Run = loaded(parts.journal, parts.deciders, workflow_stream(run_id)).state
    return found


def _order(engine: Engine, asked: ChangePath, wanted: Wanted) -> Order | None:
    """Return the command for a run as it is now; None: it was given before."""
    parts = engine.parts
    run = _run(parts, asked.run_id)
    known = None if run.path is None else run.path.changes.get(asked.change_id)
    if known is not None:
        if known[0] != digest_of(wanted, asked.sender, asked.reason):
            text = f"change {asked.change_id} of run {run.run_id} was another one"
            raise CommandRefused(Refused("command_conflict", text, "choose another id"))
        return None
    return _made(engine, asked, wanted, run)


def _made(engine: Engine, asked: ChangePath, wanted: Wanted, run: Run) -> Order:
    parts = engine.parts

    def has_begun(task: str) -> bool:
        state = loaded(parts.journal, parts.deciders, task_stream(run.run_id, task)).state
        return bool(state.attempt)

    try:
        order = order_change(
            run,
            wanted,
            asked.change_id,
            parts.journal.blob,
            has_begun,
            sender=asked.sender,
            reason=asked.reason,
            if_version=asked.if_version,
        )
    except InvalidDefinition as error:
        source = "fragment" if asked.document is None else asked.document.source
        raise InvalidDefinition(error.faults, source) from None
    ref = order.command.definition
    if ref is None or order.plan is None:
        return order
    parts.contents.hold(ref, order.plan)
    fresh = {*order.command.added, *order.command.redefined}
    tasks = [task for task in order.plan.tasks if task.id in fresh]
    prepared = prepared_of(order.plan, order.blobs[ref.sha256], tasks)
    engine.require(prepared)
    found = children_of(prepared, engine.child)
    children = {name: one for name, one in found.items() if name not in (run.children or {})}
    for one in children.values():
        parts.contents.hold(one.ref, one.plan)
        order.blobs[one.ref.sha256] = one.data
    refs = {name: one.ref for name, one in children.items()} or None
    return order._replace(command=order.command._replace(children=refs))


def _dry(engine: Engine, asked: ChangePath, wanted: Wanted) -> dict[str, Any]:
    """Say what would become of a change: the decision of the run as it is, that nobody hears."""
    parts = engine.parts
    run = _run(parts, asked.run_id)
    order = _made(engine, asked, wanted, run)
    moment = Moment(parts.clock.now_ns(), 0, 0, 0, "")
    decision = parts.deciders["workflow"].decide(run, order.command, moment)
    if isinstance(decision.reply, Refused):
        raise CommandRefused(decision.reply)
    asks = [fact.asked for fact in decision.facts if isinstance(fact, PathChangeAsked)]
    version = 2 if run.path is None else run.path.version + 1
    plan = order.plan or run.plan
    assert plan is not None, "the run was submitted"
    return _answer(
        asked,
        "possible",
        version,
        waits_for=[task for asked_of in asks for task in asked_of],
        plan=_plain(plan),
    )


def _plain(plan: Plan) -> dict[str, Any]:
    shown = in_order(plan)
    return plan_as_json(shown, analyse(shown), weights_of(shown, None, {}))


def _answer(
    asked: ChangePath,
    state: str,
    version: int,
    *,
    repeated: bool = False,
    waits_for: list[str] | None = None,
    plan: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "change": asked.change_id,
        "run_id": asked.run_id,
        "state": state,
        "version": version,
        "repeated": repeated,
        "waits_for": waits_for or [],
        "plan": plan,
    }


async def _outcome(
    engine: Engine, asked: ChangePath, end: Any, *, repeated: bool
) -> dict[str, Any]:
    """Return what became of a change, once that is known, or `timeout_s` is over.

    Raises `CommandRefused` for one that was given up.
    """
    known = await asyncio.to_thread(_known, engine.parts, asked)
    if known[2] == WAITS:
        # what runs in no process is stopped by the engine that comes next
        timeout_s = min(asked.timeout_s, IDLE_S) if engine.idle else asked.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                known = await _concluded(engine, asked, end)
        except TimeoutError:
            return _answer(asked, WAITS, known[1], repeated=repeated)
    _, version, state, message = known
    if state != APPLIED:
        raise CommandRefused(Refused(state, message, f"goclaw runs show {asked.run_id}"))
    return _answer(asked, state, version, repeated=repeated)


def _known(parts: Parts, asked: ChangePath) -> list[Any]:
    path = _run(parts, asked.run_id).path
    assert path is not None, "the change was accepted"
    return path.changes[asked.change_id]


async def _concluded(engine: Engine, asked: ChangePath, end: Any) -> list[Any]:
    parts, stream = engine.parts, workflow_stream(asked.run_id)
    async with aclosing(
        follow_log(parts.tail, engine.bridge, end, stream=stream, at_once=64)
    ) as found:
        while True:
            known = await asyncio.to_thread(_known, parts, asked)
            if known[2] != WAITS:
                return known
            await anext(found)


def _show(ground: Ground, asked: ShowPath) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    run = ground.runs.find(asked.run)
    changes = ground.views.runs.path_of(run.run_id)
    first = ground.runs.first_definition(run.run_id) if changes else run.definition
    versions = {1: first, **{one.version: one.definition for one in changes}}
    wanted = max(versions) if asked.version is None else asked.version
    if wanted not in versions:
        msg = f"the plan of run {run.run_id} has no version {wanted}"
        raise NotFound(msg, hint=f"it has versions 1 to {max(versions)}")
    return {
        "run_id": run.run_id,
        "version": wanted,
        "versions": [path_record(one) for one in changes],
        "plan": ground.runs.packed_plan(versions[wanted]),
    }


OPERATIONS: Final = (
    act("path.change", ChangePath, _change, "Change the path of a run.",
        "`{change, run_id, state, version, repeated, waits_for, plan}`", idle=True),
    read("path.show", ShowPath, _show, "Show the versions of a run's plan.",
         "`{run_id, version, versions: [{version, at, change, sender, reason, said}], "
         "plan: bytes}`"),
)  # fmt: skip
