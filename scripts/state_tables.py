"""Draw docs/reference/states.md: what each aggregate answers in each of its states.

Nothing here says what the answers are: each state is reached by facts, each message is put to
`decide`, and what comes back is written down.

Usage: state_tables.py [--check] (with --check: write nothing, and fail if something would change).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.catalogue import CATALOGUE, Catalogue
from goclaw_actors.collecting import (
    ReportVote,
    UnwatchTasks,
    WatchTasks,
)
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.messages import (
    AskAgain,
    CancelRun,
    CancelTask,
    CheckAttempt,
    CheckSlot,
    ChildEnded,
    ClaimKey,
    ControlLane,
    DeclareLane,
    Defer,
    Enqueue,
    FailRun,
    FreeKey,
    JudgeRun,
    KeepSlot,
    KeyEnded,
    KeyGranted,
    KeyRefused,
    KeyShared,
    KeyTaken,
    LaneFull,
    LeaveRoom,
    LendFree,
    LoseAttempt,
    RecheckSlots,
    RefuseWaiting,
    RegisterDefinition,
    Release,
    ReturnRoom,
    RoomFor,
    RoomRefused,
    ScheduleMore,
    ScheduleTask,
    SlotLeased,
    SlotRedirected,
    SlotRefused,
    StopMore,
    SubmitRun,
    TaskReported,
    TimerFired,
    WaitForRoom,
    WaitTask,
    Withdraw,
)
from goclaw_actors.signalling import EndSignals, HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.task import Task, task_decider
from goclaw_actors.unique import UNIQUE, Unique
from goclaw_actors.work import AttemptToken, Consumed, Outcome, Progress, Saved
from goclaw_actors.workflow import Run, workflow_decider
from goclaw_events.facts import (
    AttemptFailed,
    AttemptStarted,
    ChildStarted,
    DefinitionRegistered,
    KeyClaimed,
    KeyFreed,
    KeyJoined,
    KeyWanted,
    LaneAdvanced,
    LaneControlled,
    LaneDeclared,
    LaneRoomChanged,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunPaused,
    RunStuck,
    RunSubmitted,
    SignalAccepted,
    SignalConsumed,
    TaskAdmitted,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskEnded,
    TaskFailed,
    TaskInterrupted,
    TaskInterruptRequested,
    TaskJoined,
    TaskPaused,
    TasksBlocked,
    TaskScheduled,
    TasksWatched,
    TaskWaiting,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from goclaw_actors.decider import Decision

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.aggregates import (
    MOMENT,
    NOW_NS,
    OTHER,
    REF,
    TOKEN,
    Aggregate,
    OnePlan,
)
from scripts.collector_states import collector

PATH: Final = Path(__file__).parent.parent / "docs" / "reference" / "states.md"
HEAD: Final = """# States

Drawn by `scripts/state_tables.py` from the code; do not edit.

Each state is reached by facts, each message put to `decide`. A row says which facts
follow, the state after them if it changes, and what leaves once they are durable.
"""


class Answer(NamedTuple):
    """One cell: the decision, and the state after it."""

    message: str
    decision: Decision
    state_after: str


def _outcome(status: str, number: int, code: str = "") -> Outcome:
    return Outcome("task/r/a", AttemptToken(0, 1, number), status, code=code)


def task() -> Aggregate:
    """Return the task with its states and messages."""
    scheduled = TaskScheduled(REF, 0, {}, "w/io", 0)
    unique = scheduled._replace(unique=["unique/w/a", "k", 0, "join"])
    started = AttemptStarted(1, TOKEN, "node:boot")
    running = (scheduled, started)
    retry_ns = NOW_NS + 1_000_000_000
    to_begin = TaskScheduled(REF, 0, {}, "", 0, child=[REF, 1, None])
    child = (to_begin, ChildStarted(1, "run_c", REF))
    patient = scheduled._replace(total_due_ns=NOW_NS, queue_due_ns=NOW_NS)
    stuck = AttemptFailed(1, TOKEN, "timeout", "m", "", True, retry_ns)
    patch = SendSignal("a", "p", "params", "steer", {"n": 1}, "", b"", names=["n"], definition=REF)
    message = SendSignal("a", "m", "message", "steer", "hi", "", b"", definition=REF)
    current = AttemptToken(0, 1, TOKEN)
    said = SignalAccepted("m", "message", "steer", "hi", "")
    states: dict[str, Sequence[Any]] = {
        "pending": (),
        "pending (a message waits)": (said,),
        "scheduled": (scheduled,),
        "running (a message waits)": (*running, said),
        "running (it was taken)": (*running, said, SignalConsumed("m", 1, TOKEN)),
        "claiming": (unique,),
        "joined": (unique, TaskJoined("task/s/a")),
        "scheduled (it has its key)": (unique, TaskAdmitted()),
        "running": running,
        "cancelling": (*running, TaskCancelRequested("why")),
        "scheduled (its times are over)": (patient,),
        "child": child,
        "cancelling (a child)": (*child, TaskCancelRequested("why")),
        "waiting": (TaskWaiting(REF, 0, NOW_NS),),
        "retrying": (*running, AttemptFailed(1, TOKEN, "e", "m", "", False, retry_ns)),
        "retrying (abandoned)": (*running, stuck),
        "running (to be paused)": (*running, TaskPaused("why", "me", in_force=False)),
        "interrupting": (*running, TaskInterruptRequested("why", "me", 5.0)),
        "interrupted": (
            *running,
            TaskInterruptRequested("why", "me", 5.0),
            TaskInterrupted("why", "me"),
        ),
        "paused": (scheduled, TaskPaused("why", "me", in_force=True)),
        "paused (a child)": (*child, TaskPaused("why", "me", in_force=True)),
        "completed": (*running, TaskCompleted(1, TOKEN, 1)),
        "failed": (scheduled, TaskFailed("lane_full", "m")),
        "cancelled": (scheduled, TaskCancelled("why", abandoned=False)),
    }
    messages = {
        "ScheduleTask": ScheduleTask(REF, 0, {}, "w/io", 0),
        "WaitTask": WaitTask(REF, 0, NOW_NS),
        "KeyGranted": KeyGranted(),
        "KeyShared": KeyShared("task/s/a"),
        "KeyRefused": KeyRefused("task_duplicate", "m"),
        "KeyEnded completed": KeyEnded("completed", 1, None),
        "KeyEnded failed": KeyEnded("failed", None, ["e", "m"]),
        "KeyTaken": KeyTaken("task/s/a"),
        "SlotLeased": SlotLeased(),
        "SlotRefused": SlotRefused("lane_full"),
        "SlotRedirected": SlotRedirected("w/other"),
        "AskAgain": AskAgain("w/io"),
        "AskAgain (for another lane)": AskAgain("w/other"),
        "Outcome completed": _outcome("completed", TOKEN),
        "Outcome failed (may be retried)": _outcome("failed", TOKEN, "e"),
        "Outcome failed (not to be retried)": _outcome("failed", TOKEN, "bad_params"),
        "Outcome failed (not served for now)": _outcome("failed", TOKEN)._replace(limited=True),
        "Outcome cancelled": _outcome("cancelled", TOKEN, "bad_params"),
        "Outcome failed (abandoned)": _outcome("failed", TOKEN, "e")._replace(abandoned=True),
        "Outcome returned": _outcome("returned", TOKEN),
        "Outcome of another attempt": _outcome("completed", TOKEN - 1),
        "Progress": Progress("task/r/a", AttemptToken(0, 1, TOKEN), 0.5, "half"),
        "Progress of another attempt": Progress("task/r/a", AttemptToken(0, 1, 6), 0.5, ""),
        "TimerFired": TimerFired("due"),
        "TimerFired queue": TimerFired("queue"),
        "TimerFired total": TimerFired("total"),
        "ChildEnded completed": ChildEnded("run_c", "completed", 1, None),
        "ChildEnded failed (may be retried)": ChildEnded("run_c", "failed", None, ["e", "m"]),
        "ChildEnded cancelled": ChildEnded("run_c", "cancelled", None, None),
        "ChildEnded of another run": ChildEnded("run_d", "completed", 1, None),
        "LoseAttempt": LoseAttempt(TOKEN, 10),
        "LoseAttempt (once too often)": LoseAttempt(TOKEN, 0),
        "LoseAttempt (process asked to stop)": LoseAttempt(TOKEN, 0, stopped=True),
        "LoseAttempt of another attempt": LoseAttempt(TOKEN - 1, 10),
        "SendSignal (parameters)": patch,
        "SendSignal (message)": message,
        "SendSignal (rejecting)": message._replace(signal="r", mode="reject"),
        "SendSignal (merging)": message._replace(signal="c", mode="coalesce", quiet_s=1.0),
        "WithdrawSignal": WithdrawSignal("a", "m", "why"),
        "EndSignals": EndSignals("why"),
        "HoldWork interrupt": HoldWork("a", "interrupted", "why", "me", 5.0, definition=REF),
        "HoldWork interrupt (with its run)": HoldWork(
            "a", "interrupted", "why", "me", 5.0, definition=REF, of_run=True
        ),
        "HoldWork pause": HoldWork("a", "paused", "why", "me", 0.0, definition=REF),
        "ResumeWork": ResumeWork("a", "me", definition=REF),
        "Consumed": Consumed("task/r/a", current, ["m"]),
        "Saved": Saved("task/r/a", current, 1, {"n": 1}),
        "ReportVote": ReportVote("collector/c", []),
        "CheckAttempt": CheckAttempt(TOKEN),
        "CheckSlot": CheckSlot(),
        "CheckSlot of an abandoned attempt": CheckSlot(TOKEN),
        "CancelTask": CancelTask("why"),
        "CancelTask (only if queued)": CancelTask("why", queued_only=True),
    }
    about = (
        "Here the policy allows two attempts. *Of another attempt*: its token is not the current\n"
        "one. *Cancelling*: its attempt is being stopped; a result that comes first still counts.\n"
        "*Child*: the run that it stands for is under way. *Abandoned*: the code of the attempt\n"
        "could not be stopped, so that it keeps its slot, whatever becomes of the task."
    )
    decider = task_decider(OnePlan())
    return Aggregate("Task", about, decider, "task/r/a", states, messages, _task_state)


def _task_state(state: Task) -> str:
    return state.status


def run() -> Aggregate:
    """Return the run with its states and messages."""
    submitted = RunSubmitted(REF, "w", {}, {}, b"same", None, "")
    done = TaskEnded("a", 0, "completed", None, None)
    failed = TaskEnded("b", 0, "failed", None, ["e", "m"])
    states: dict[str, Sequence[Any]] = {
        "unknown": (),
        "running": (submitted,),
        "running (only c is left)": (submitted, done, done._replace(task="b")),
        "running (a is held back)": (submitted, TasksBlocked("w/io", ["a"])),
        "running (stuck)": (submitted, RunStuck([["task/r/a", "why"]])),
        "running (a collector waits for a)": (submitted, TasksWatched("collector/c", [0], None)),
        "failing": (submitted, failed),
        "cancelling": (submitted, done._replace(task="b"), RunCancelRequested("why", "")),
        "paused": (submitted, RunPaused("why", "me")),
        "interrupted": (submitted, RunInterrupted("why", "me", 5.0)),
        "completed": (submitted, RunCompleted(None)),
        "failed": (submitted, RunFailed("e", "m", "b")),
        "cancelled": (submitted, RunCancelled("why")),
    }
    messages = {
        "SubmitRun": SubmitRun(*submitted),
        "SubmitRun of another request": SubmitRun(*submitted._replace(digest=b"other")),
        "TaskReported a completed": TaskReported("a", 0, "completed", None, None),
        "TaskReported a failed": TaskReported("a", 0, "failed", None, ["e", "m"]),
        "TaskReported a cancelled": TaskReported("a", 0, "cancelled", None, None),
        "TaskReported b completed": TaskReported("b", 0, "completed", None, None),
        "TaskReported c completed": TaskReported("c", 0, "completed", None, None),
        "ScheduleMore": ScheduleMore([0]),
        "StopMore": StopMore(0, "why"),
        "CancelRun": CancelRun("why", ""),
        "LaneFull": LaneFull("w/io", ["task/r/a"]),
        "RoomFor": RoomFor("w/io", 1),
        "RoomRefused": RoomRefused("w/io", "stream_poisoned"),
        "TimerFired": TimerFired("deadline"),
        "FailRun": FailRun("internal_bug", "m", "a"),
        "SendSignal": SendSignal("a", "m", "message", "steer", "hi", "", b""),
        "SendSignal to no task of it": SendSignal("z", "m", "message", "steer", "hi", "", b""),
        "WithdrawSignal": WithdrawSignal("a", "m", "why"),
        "JudgeRun (it is stuck)": JudgeRun([["task/r/a", "why"]]),
        "JudgeRun (it is not)": JudgeRun([]),
        "HoldWork interrupt": HoldWork("", "interrupted", "why", "me", 5.0),
        "HoldWork pause": HoldWork("", "paused", "why", "me", 0.0),
        "HoldWork pause of a task": HoldWork("a", "paused", "why", "me", 0.0),
        "ResumeWork": ResumeWork("", "me"),
        "WatchTasks": WatchTasks("collector/c", ["a", "b"], None),
        "WatchTasks of no task of it": WatchTasks("collector/c", ["z"], None),
        "UnwatchTasks": UnwatchTasks("collector/c"),
    }
    about = (
        "The plan: `a` and `b` need nothing, `c` needs `a`; `on_failure: fail_fast`.\n"
        "*Running*: `a` and `b` are active; *failing*: `b` has failed, `a` is active (with\n"
        "`let_finish`, `ScheduleMore` would still schedule); *cancelling*: `a` is active. *Held*\n"
        "*back*: its lane is full, and blocks."
    )
    decider = workflow_decider(OnePlan())
    return Aggregate("Run", about, decider, "workflow/r", states, messages, _run_state)


def _run_state(state: Run) -> str:
    return (state.status == "running" and state.held) or state.status


def lane() -> Aggregate:
    """Return the lane with its states and messages."""
    declared = LaneDeclared(2, 1, "reject", "w")
    first = LaneAdvanced([], [], [("task/r/a", 0, False)], ["task/r/a"])
    second = LaneAdvanced([], [], [("task/r/b", 0, False)], ["task/r/b"])
    third = LaneAdvanced([], [], [("task/r/c", 0, False)], [])
    more = LaneDeclared(2, 9, "reject", "w")
    blocks = declared._replace(overflow="block")
    waits = LaneRoomChanged([], [], ["workflow/s"], [])
    kept = LaneRoomChanged([], [], ["workflow/r"], [["workflow/r", 1]])
    states: dict[str, Sequence[Any]] = {
        "empty": (declared,),
        "free": (declared, first),
        "taken": (declared, first, second),
        "queueing": (more, first, second, third),
        "full": (declared, first, second, third),
        "paused": (more, first, LaneControlled("paused", {}, 1, "uid:1")),
        "draining": (more, first, second, third, LaneControlled("draining", {}, 1, "uid:1")),
        "full (it blocks)": (blocks, first, second, third),
        "full (it blocks, and a run waits)": (blocks, first, second, third, waits),
        "full (it redirects)": (
            declared._replace(overflow="redirect", redirect_to="w/other"),
            first,
            second,
            third,
        ),
        "taken (room is kept for a run)": (blocks, first, second, kept),
    }
    messages = {
        "Enqueue": Enqueue("task/r/d", 0, at_head=False),
        "Enqueue at head": Enqueue("task/r/d", 0, at_head=True),
        "Enqueue of a task that is here": Enqueue("task/r/a", 0, at_head=False),
        "Enqueue of a task that room is kept for": Enqueue("task/r/d", 0, False, let_in=True),
        "WaitForRoom": WaitForRoom("workflow/s"),
        "LeaveRoom": LeaveRoom("workflow/s"),
        "ReturnRoom": ReturnRoom("workflow/r", 1),
        "Release": Release("task/r/a"),
        "Defer": Defer("task/r/a", 0, True, "", "", "", None, 1.0, NOW_NS + 1),
        "Release of a task that holds no slot": Release("task/r/z"),
        "KeepSlot": KeepSlot("task/r/a", TOKEN),
        "KeepSlot of a task that holds no slot": KeepSlot("task/r/z", TOKEN),
        "Withdraw of a task that waits": Withdraw("task/r/c"),
        "Withdraw of a task that holds a slot": Withdraw("task/r/a"),
        "DeclareLane (one slot more)": DeclareLane(3, 9, "reject", "w"),
        "DeclareLane (one slot less)": DeclareLane(1, 9, "reject", "w"),
        "ControlLane (one slot more)": ControlLane(None, {"concurrency": 3}, False, "uid:1"),
        "ControlLane (pause)": ControlLane("paused", {}, False, "uid:1"),
        "ControlLane (resume)": ControlLane("open", {}, False, "uid:1"),
        "ControlLane (drain)": ControlLane("draining", {}, False, "uid:1"),
        "ControlLane (of another version)": ControlLane("open", {}, False, "uid:1", if_version=9),
        "LendFree": LendFree(),
        "RecheckSlots": RecheckSlots(None),
        "RecheckSlots of one task": RecheckSlots(["task/r/a"]),
        "RefuseWaiting": RefuseWaiting(),
    }
    about = (
        "Two slots. *Free*: one is leased; *taken*: both are; *queueing*: both are, and `c` waits;"
        "\n*full*: as many wait as the capacity allows (1). What comes back at the head of the"
        "\nqueue had a slot before, and is taken in whatever the capacity. *Paused*: one slot is"
        "\nlent, and no other will be; *draining*: as *queueing*, but nobody new is taken in. The"
        "\nothers are of lanes with `overflow: block` or `redirect`."
    )
    return Aggregate("Lane", about, LANE, "lane/w/io", states, messages, _lane_state)


def _lane_state(state: Lane) -> str:
    if state.control.mode != "open":
        return state.control.mode
    if len(state.queued) >= state.capacity:
        return "full"
    if state.queued:
        return "queueing"
    if len(state.leased) >= state.concurrency:
        return "taken"
    return "free" if state.leased else "empty"


def unique() -> Aggregate:
    """Return the keys of a unique task with their states and messages."""
    claimed = KeyClaimed("k", "task/r/a", NOW_NS + 1, NOW_NS)
    states: dict[str, Sequence[Any]] = {
        "free": (),
        "held": (claimed,),
        "held (one joined)": (claimed, KeyJoined("k", "task/s/a", NOW_NS)),
        "held (one comes next)": (claimed, KeyWanted("k", "task/s/a", 0, NOW_NS)),
        "done": (claimed, KeyFreed("k", "task/r/a", "completed", 1, NOW_NS)),
    }
    messages = {
        "ClaimKey (refuse)": ClaimKey("k", "task/t/a", 0, "refuse"),
        "ClaimKey (join)": ClaimKey("k", "task/t/a", 0, "join"),
        "ClaimKey (replace)": ClaimKey("k", "task/t/a", 0, "replace"),
        "ClaimKey of who has it": ClaimKey("k", "task/r/a", 0, "join"),
        "FreeKey completed": FreeKey("k", "task/r/a", "completed", 1, None),
        "FreeKey failed": FreeKey("k", "task/r/a", "failed", None, ["e", "m"]),
        "FreeKey cancelled": FreeKey("k", "task/r/a", "cancelled", None, None),
        "FreeKey of who waits": FreeKey("k", "task/s/a", "cancelled", None, None),
        "RefuseWaiting": RefuseWaiting(),
    }
    about = (
        "The keys of task `a` of a definition; the states are those of one key. *Done*: the task\n"
        "that had it completed, and its window is not over."
    )
    return Aggregate("Unique", about, UNIQUE, "unique/w/a", states, messages, _unique_state)


def _unique_state(state: Unique) -> str:
    holder = state.holder("k")
    if holder is None:
        return "free"
    return "done" if holder.done else "held"


def catalogue() -> Aggregate:
    """Return the catalogue of a name with its states and messages."""
    states: dict[str, Sequence[Any]] = {
        "empty": (),
        "registered": (DefinitionRegistered("1", REF, ""),),
    }
    messages = {
        "RegisterDefinition": RegisterDefinition(None, OTHER, ""),
        "RegisterDefinition of a body that is known": RegisterDefinition(None, REF, ""),
        "RegisterDefinition as version 1": RegisterDefinition("1", REF, ""),
        "RegisterDefinition of another body as version 1": RegisterDefinition("1", OTHER, ""),
    }
    about = "What can be run by one name; *registered*: version 1 is known."
    return Aggregate(
        "Catalogue", about, CATALOGUE, "catalogue/w", states, messages, _catalogue_state
    )


def _catalogue_state(state: Catalogue) -> str:
    return "registered" if state.versions else "empty"


def _base(state: str) -> str:
    return state.partition(" (")[0]


def answers(aggregate: Aggregate, state: str) -> Iterable[Answer]:
    """Put every message to the aggregate in a state."""
    decider = aggregate.decider
    for name, message in aggregate.messages.items():
        subject = decider.initial(aggregate.stream)
        for fact in aggregate.states[state]:
            decider.evolve(subject, fact)
        reached = aggregate.name_of(subject)
        assert reached == _base(state), f"the facts of {state!r} lead to {reached!r}"
        decision = decider.decide(subject, message, MOMENT)
        for fact in decision.facts:
            decider.evolve(subject, fact)
        yield Answer(name, decision, aggregate.name_of(subject))


def _names(items: Iterable[Any]) -> str:
    return ", ".join(f"`{type(item).__name__}`" for item in items)


def _follows(decision: Decision) -> str:
    sends = [f"`{type(send.body).__name__}` to {_who(send.target)}" for send in decision.sends]
    effects = [f"`{type(effect).__name__}`" for effect in decision.effects]
    reply = decision.reply
    if reply is not None:
        said = getattr(reply, "code", "repeated" if getattr(reply, "repeated", False) else "")
        effects.append(f"answer `{type(reply).__name__}`" + (f" ({said})" if said else ""))
    return ", ".join([*sends, *effects])


def _who(stream: str) -> str:
    kind, _, rest = stream.partition("/")
    if kind in ("lane", "collector"):
        return f"the {kind}"
    return "the run" if kind == "workflow" else f"task {rest.rpartition('/')[2]}"


def _section(aggregate: Aggregate, state: str) -> str:
    rows, ignored = [], []
    for message, decision, after in answers(aggregate, state):
        if not (decision.facts or decision.sends or decision.effects or decision.reply):
            ignored.append(message)
            continue
        then = f"**{after}**" if after != _base(state) else ""
        rows.append(f"| {message} | {_names(decision.facts)} | {then} | {_follows(decision)} |")
    lines = [f"### {aggregate.title}: {state}", ""]
    if rows:
        lines += ["| message | facts | then | and |", "|---|---|---|---|", *rows, ""]
    if ignored:
        lines += [f"Nothing follows from: {'; '.join(ignored)}.", ""]
    return "\n".join(lines)


def _diagram(aggregate: Aggregate) -> str:
    edges: dict[tuple[str, str], list[str]] = {}
    for state in aggregate.states:
        for message, _, after in answers(aggregate, state):
            if after != _base(state):
                edges.setdefault((_base(state), after), []).append(message)
    lines = ["```mermaid", "stateDiagram-v2"]
    for (state, after), names in edges.items():
        lines.append(f"  {state} --> {after}: {', '.join(dict.fromkeys(names))}")
    return "\n".join([*lines, "```", ""])


def draw() -> str:
    """Return the document."""
    parts = [HEAD]
    for aggregate in (run(), task(), lane(), unique(), catalogue(), collector()):
        parts.append(f"## {aggregate.title}\n\n{aggregate.about}\n")
        parts.append(_diagram(aggregate))
        parts += [_section(aggregate, state) for state in aggregate.states]
    return "\n".join(parts).rstrip() + "\n"


def main(*, check: bool) -> int:
    """Write the document, or compare it; return 1 when it is out of date."""
    text = draw()
    stale = not PATH.exists() or PATH.read_text(encoding="utf-8") != text
    if stale and not check:
        PATH.write_text(text, encoding="utf-8")
    verb = "out of date" if check else "written"
    print(f"docs/reference/states.md: {verb if stale else 'as the code says'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
