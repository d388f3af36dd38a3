"""Record a small log in which everything that a log can hold happens: the same bytes each time."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from goclaw_actors import failures
from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.answering import AnswerTask, SendNamed, WithdrawNamed
from goclaw_actors.collecting import AddMembers, CloseCollector, OpenCollector
from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga
from goclaw_actors.lending import ControlLane, Release
from goclaw_actors.letters import DiscardTask, RedriveTask
from goclaw_actors.message import Message
from goclaw_actors.messages import JudgeRun, RegisterDefinition, ScheduleTask
from goclaw_actors.path_order import Wanted, order_change
from goclaw_actors.rebuild import actor_at
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.work import RETURNED, SLEPT, Consumed, Outcome, Progress, Saved, Stepped
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact
from goclaw_events.facts import MessageFailed, MessageSettled, SegmentSealed, SegmentsExpired
from goclaw_events.frame import FrameHeader
from goclaw_events.framing import FrameBuilder
from goclaw_events.ids import PARTITION_STREAM, collector_stream, partition_of, saga_stream
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.plan import pack_plan
from goclaw_events.plan.fragment import fragment_from
from goclaw_events.portable import export_log
from goclaw_events.value import blob_of, packer
from tests.actors.given import plan_of
from tests.actors.sagas import submission
from tests.actors.stage import CHAIN, LANES, MANY, ONE, Stage
from tests.golden.schedules import scheduled, set_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_actors.decider import Decider
    from goclaw_actors.work import StartAttempt

ROW, FILE = "r" * 100_000, "f" * 2_000_000
BAD = {"a": {"agent": "x", "lane": "bad"}}
POISONED = {"a": {"agent": "x", "lane": "poisoned"}}
SKIPS: dict[str, Any] = {
    "a": {"agent": "x"},
    "b": {"agent": "x", "when": "${input.go}", "needs": ["a"]},
    "c": {"agent": "x", "needs": ["b"]},
}
TIGHT: dict[str, Any] = {
    "tasks": {name: {"agent": "x", "lane": "tight"} for name in "abcd"},
    "head": {"lanes": {"tight": {"concurrency": 1, "capacity": 1}}, "on_failure": "continue"},
}
KEYED: dict[str, Any] = {
    "tasks": {
        name: {
            "agent": "x", "units": {"gpu": 1}, "cost": 2.0, "priority": 1,
            "lane": {"name": "chat", "key": "${task.id}"},
        }
        for name in "ab"
    },
    "head": {
        "labels": {"tenant": "n"},
        "lanes": {
            "chat": {
                "concurrency": 3, "per_tenant": 2, "per_key": 1, "resources": {"gpu": 2},
                "rate": {"per_second": 1, "burst": 2}, "weights": {"n": 2.0}, "ageing": "10s",
                "fair_by": "tenant",
            }
        },
    },
}  # fmt: skip
RETRIED = {"a": {"agent": "x", "retry": {"attempts": 2, "initial": "1s"}}}


def record(partitions: int, *, unfinished: bool) -> bytes:
    """Return the export of a log with the runs below; `unfinished` leaves some of them under way.

    Traces of errors would name the files of this machine: they are left out.
    """
    journal = MemoryJournal(partitions=partitions, log_id=bytes(range(1, 17)), autocommit=False)
    with patch.object(failures, "_trace", lambda error: type(error).__name__):
        stage = _everything(Stage(journal, partitions=partitions, change=_bugs))
        if unfinished:
            _unfinished(stage)
    file = BytesIO()
    export_log(_archive(stage.journal), file, "golden")
    return file.getvalue()


def _bugs(kinds: dict[str, Decider[Any]]) -> None:
    """Let a task's decider and a lane's fail where their lane is called for it."""

    def breaking(kind: str, body: type, said: str) -> None:
        decider = kinds[kind]

        def decide(state: Any, message: Any, moment: Any) -> Any:
            if isinstance(message, body) and said in f"{state.stream} {message}":
                msg = "a bug"
                raise RuntimeError(msg)
            return decider.decide(state, message, moment)

        kinds[kind] = replace(decider, decide=decide)

    breaking("task", ScheduleTask, "w/bad")
    breaking("lane", Release, "w/poisoned")


def _everything(stage: Stage) -> Stage:
    _registered(stage)
    stage = _endings(stage)
    _abandoned(stage)
    _families(stage)
    _limited(stage)
    _signalled(stage)
    _judged(stage)
    _held(stage)
    _adjusted(stage)
    _stepped(stage)
    _spawned(stage)
    _mapped(stage)
    _collected(stage)
    _answered(stage)
    _changed(stage)
    _undone(stage)
    _died(stage)
    stage = _losses(stage)
    _bugs_met(stage)
    scheduled(stage)
    for _ in range(3):
        stage.clock.ns += 10**12
        stage.finish()
    return stage


def _registered(stage: Stage) -> None:
    """Register two versions of a definition."""
    for version in (None, "beta"):
        plan = pack_plan(plan_of(ONE, version=version))
        message = Message("catalogue/w", RegisterDefinition(version, blob_of(plan), "golden"))
        message.blobs = {blob_of(plan).sha256: plan}
        stage.node.accept(message)
    stage.rest()


def _endings(stage: Stage) -> Stage:
    """Let runs complete, fail, be cancelled, skip, wait, retry, and find a lane full."""
    stage.submit(CHAIN, "completed", given={"text": "ä", "numbers": [1, -1, 2**63, 0.5, None]})
    stage.submit(MANY, "many", **LANES)
    stage.submit(ONE, "row")
    stage.submit(ONE, "file")
    stage.submit(SKIPS, "skipped", input={"go": {"type": "boolean"}}, given={"go": False})
    stage.submit(TIGHT["tasks"], "refused", **TIGHT["head"])
    stage.submit(RETRIED, "retried")
    stage.submit({**CHAIN, "w": {"wait": "1h"}}, "cancelled")
    stage.rest()
    for run, status, value in (
        ("row", "completed", ROW),
        ("file", "completed", {"deep": FILE}),
        ("retried", "failed", None),
    ):
        stage.end(_running(stage, run), status, value)
    progress = _running(stage, "completed")
    stage.node.accept_outcomes([Progress(progress.stream, progress.token, 0.5, "half")])
    stage.cancel("cancelled", "command", "not wanted")
    stage.rest()
    for stop in stage.executor.stops:
        attempt = stage.executor.held.pop(stop.token)
        outcome = Outcome(attempt.stream, attempt.token, "cancelled", code="cancelled")
        stage.node.accept_outcomes([outcome])
    stage.executor.stops.clear()
    stage.clock.ns += 2 * 10**9
    stage.rest()
    stage.end(_running(stage, "retried"), "failed")
    stage.rest()
    return stage


def _abandoned(stage: Stage) -> None:
    """Let an attempt be tried again while its code still runs, and give its slot back later."""
    stage.submit(RETRIED, "abandoned")
    stage.rest()
    attempt = stage.executor.held.pop(_running(stage, "abandoned").token)
    outcome = Outcome(attempt.stream, attempt.token, "failed", code="timeout", abandoned=True)
    stage.node.accept_outcomes([outcome])
    stage.rest()
    stage.clock.ns += 2 * 10**9
    stage.rest()
    stage.node.accept_outcomes([Outcome(attempt.stream, attempt.token, RETURNED)])
    stage.end(_running(stage, "abandoned"), "completed")
    stage.rest()


def _families(stage: Stage) -> None:
    """Let a run be the child of another one, and let one take too long."""
    child = plan_of({"c": {"agent": "x"}}, input={"n": {"type": "integer"}})
    data = pack_plan(child)
    message = stage.submission({"p": {"workflow": "sub", "with": {"n": 1}}}, "parent")
    message.body = message.body._replace(children={"sub": blob_of(data)})
    assert message.blobs is not None
    message.blobs[blob_of(data).sha256] = data
    stage.node.accept(message)
    stage.submit({"slow": {"agent": "x", "queue_timeout": "1h"}}, "overdue", timeout="1s")
    stage.rest()
    stage.clock.ns += 2 * 10**9
    stage.rest()
    stage.end(_running(stage, "overdue"), "cancelled")
    stage.rest()
    stage.executor.stops.clear()


def _limited(stage: Stage) -> None:
    """Let runs share a lane by key, tenant, units and rate, and overflow one that drops."""
    for run in ("keyed-1", "keyed-2"):
        stage.submit(KEYED["tasks"], run, **KEYED["head"])
    dropping = {"concurrency": 1, "capacity": 1, "overflow": "drop_oldest"}
    tasks = {name: {"agent": "x", "lane": "dropping"} for name in "abcd"}
    stage.submit(tasks, "dropped", lanes={"dropping": dropping}, on_failure="continue")
    for kind in ("join", "replace"):
        asks = {"key": "${input.k}", "on_duplicate": kind}
        unique = {kind: {"agent": "x", "unique": asks}}
        for run in ("first", "second"):
            stage.submit(unique, f"{kind}-{run}", input={"k": {}}, given={"k": kind})
    full = {"concurrency": 1, "capacity": 1}
    blocking = {**full, "overflow": "block", "waiters_max": 2}
    redirecting = {**full, "overflow": "redirect", "redirect_to": "blocking"}
    tasks = {f"t{n}": {"agent": "x", "lane": "redirecting"} for n in range(6)}
    stage.submit(tasks, "sent-on", lanes={"redirecting": redirecting, "blocking": blocking})
    stage.rest()
    scaling = {"scale": {"min": 1, "max": 4}}
    crowd = {name: {"agent": "x", "lane": "scaling"} for name in "abcd"}
    stage.submit(crowd, "scaled", lanes={"scaling": scaling})
    stage.rest()
    limited = _running(stage, "dropped")
    outcome = Outcome(limited.stream, limited.token, "failed", retry_after_s=5.0, limited=True)
    stage.node.accept_outcomes([outcome])
    stage.rest()
    for mode, limits in (("draining", {"per_tenant": 1}), ("open", {"per_tenant": None})):
        body = ControlLane(mode, {"concurrency": 2, **limits}, reset=False, by="uid:1", claimed="g")
        stage.node.accept(Message("lane/w/dropping", body))
        stage.rest()


def _signalled(stage: Stage) -> None:
    """Say things to a task that has not begun and to one that runs; let each way end once."""
    tasks = {name: {"agent": "x", "with": {"n": 1}} for name in "ab"}
    tasks["b"]["needs"] = ["a"]
    stage.submit(tasks, "told")
    stage.rest()
    for task, name, kind, body in (
        ("a", "patch", "params", {"n": 2}),
        ("a", "taken", "message", "hello"),
        ("a", "withdrawn", "message", ["no"]),
        ("a", "declined", "message", None),
        ("b", "early", "message", "later"),
    ):
        said = SendSignal(task, name, kind, "steer", body, "golden", name.encode())
        message = Message("workflow/told", said)
        message.command_id, message.digest = name, said.digest
        stage.node.accept(message)
    stage.node.accept(Message("workflow/told", WithdrawSignal("a", "withdrawn", "not meant")))
    stage.rest()
    running = _running(stage, "told")
    stage.node.accept_outcomes(
        [
            Consumed(running.stream, running.token, ["taken"]),
            Saved(running.stream, running.token, 1, {"so": "far"}),
        ]
    )
    stage.end(running)
    stage.rest()


def _answered(stage: Stage) -> None:
    """Let tasks wait for signals that come before, in time, too late, twice, and not at all."""
    go = {"wait_for": {"signal": "go", "deadline": "1h"}}
    skips = {"wait_for": {"signal": "no", "deadline": "1s", "on_deadline": "skip"}}
    tasks = {"a": go, "b": {**go, "needs": ["a"]}, "s": skips, "c": {**go, "needs": ["b", "s"]}}
    tasks["e"] = {"wait_for": {"signal": "end"}, "needs": ["c"], "when": "false"}
    stage.submit(tasks, "answered")
    stage.rest()
    for number in range(3):
        signal = SendNamed("go", f"go-{number}", {"n": number}, "golden", b"go", 16)
        stage.node.accept(Message("workflow/answered", signal))
        stage.rest()
    for number, deadline_ns in ((3, 0), (4, stage.clock.ns + 10**9 // 2)):
        kept = SendNamed("end", f"end-{number}", number, "golden", b"end", 16, deadline_ns)
        stage.node.accept(Message("workflow/answered", kept))
    stage.node.accept(Message("workflow/answered", WithdrawNamed("end-3", "a slip", "golden")))
    stage.rest()
    late = AnswerTask("late", "signal", "go", "late", "golden")
    stage.node.accept(Message("task/answered/a", late))
    stage.clock.ns += 2 * 10**9
    stage.rest()


def _changed(stage: Stage) -> None:
    """Let the path of runs be changed: at once, after asking, and not at all."""
    tasks: dict[str, Any] = {name: {"agent": "x", "lane": "slow"} for name in "ab"}
    tasks["c"] = {"agent": "x", "needs": ["a", "b"], "with": {"b": "${tasks.b.result}"}}
    added = {"tasks": {"d": {"agent": "x", "needs": ["a"]}}, "needs": {"c": ["d"]}}
    wanted = {
        "added": Wanted(fragment=fragment_from(added), said=added),
        "kept": Wanted(skip={"a": None, "b": None}, said="skip both"),
        "skipped": Wanted(skip={"b": 5}, said="skip"),
        "again": Wanted(rerun=("a",), said="again"),
    }
    stage.submit(tasks, "path", lanes={"slow": {"concurrency": 1}})
    stage.rest()
    for change, one in wanted.items():
        stream = "workflow/path"
        partition = partition_of(stream, stage.journal.partitions)
        run = actor_at(stage.journal, stage.kinds, partition, stream).state
        order = order_change(run, one, change, stage.journal.blob, lambda _: False, sender="golden")
        message = Message(stream, order.command)
        message.blobs = order.blobs
        stage.node.accept(message)
        stage.rest()


def _held(stage: Stage) -> None:
    """Let tasks and runs stand still, and go on."""
    tasks = {name: {"agent": "x"} for name in "ab"}
    stage.submit(tasks, "held")
    stage.rest()
    for body in (
        HoldWork("a", "interrupted", "why", "golden", 5.0),
        HoldWork("b", "paused", "why", "golden", 0.0),
        HoldWork("", "paused", "why", "golden", 0.0),
        HoldWork("", "interrupted", "why", "golden", 5.0),
    ):
        stage.node.accept(Message("workflow/held", body))
        stage.rest()
    for attempt in [one for one in stage.executor.held.values() if one.run_id == "held"]:
        stage.end(attempt, "cancelled")
    stage.rest()
    stage.node.accept(Message("workflow/held", ResumeWork("", "golden")))
    stage.rest()


def _adjusted(stage: Stage) -> None:
    """Change how tasks are run: one that waits goes to another lane, a child has less time."""
    lanes = {"one": {"concurrency": 1}, "other": {}}
    tasks = {name: {"agent": "x", "lane": "one"} for name in "ab"}
    stage.submit(tasks, "adjusted", lanes=lanes)
    stage.rest()
    changes: dict[str, Any] = {"lane": "w/other", "priority": 3, "retry": {"attempts_max": 4}}
    due_ns = stage.clock.ns + 10**12
    for run, task, said in (
        ("adjusted", "b", changes | {"timeout_s": 9.5}),
        ("parent", "p", {"deadline_ns": due_ns}),
    ):
        body = AdjustTask(task, f"{run}-{task}", said, "golden", b"digest")
        stage.node.accept(Message(f"workflow/{run}", body))
        stage.rest()


def _stepped(stage: Stage) -> None:
    """Let a handler do two steps, sleep, and not ask for one of them when it wakes."""
    stage.submit(ONE, "stepped")
    stage.rest()
    running = _running(stage, "stepped")
    place, due_ns = (running.stream, running.token), stage.clock.ns + 10**10
    stage.node.accept_outcomes(
        [
            Stepped(*place, "charge", "order-1", b"digest", {"paid": 5}),
            Stepped(*place, "$sleep", "#1", b"", due_ns),
            Outcome(*place, SLEPT, due_ns),
        ]
    )
    del stage.executor.held[running.token]
    stage.rest()
    stage.clock.ns = due_ns
    stage.rest()
    stage.end(_running(stage, "stepped"), unused=(("charge", "order-1"),))
    stage.rest()


def _spawned(stage: Stage) -> None:
    """Let a handler spawn two tasks, await one of them, and end before the other."""
    stage.submit(ONE, "spawns")
    stage.rest()
    running = _running(stage, "spawns")
    place = (running.stream, running.token)
    said = '{"agent": "x"}'
    stage.node.accept_outcomes(
        [
            Stepped(*place, "$spawn", "first", b"digest", [said, {"n": 1}, False]),
            Stepped(*place, "$spawn", "second", b"digest", [said, {"n": 2}, True]),
            Outcome(*place, SLEPT, [stage.clock.ns + 10**18, "first"]),
        ]
    )
    del stage.executor.held[running.token]
    stage.rest()
    tasks = {one.task_id: one for one in stage.executor.held.values() if one.run_id == "spawns"}
    stage.end(tasks["a/first"], value={"n": 1})
    stage.rest()
    tasks = {one.task_id: one for one in stage.executor.held.values() if one.run_id == "spawns"}
    stage.end(tasks["a"], value="done")
    stage.rest()
    stage.end(tasks["a/second"], "failed")
    stage.rest()


def _mapped(stage: Stage) -> None:
    """Work on the items of a list, one at a time; one fails, which it may."""
    each: dict[str, Any] = {
        "agent": "x", "foreach": [1, 2, 3], "parallel": 1, "with": {"n": "${item}"},
        "on_item_failure": "continue", "item_results": "outcomes",
    }  # fmt: skip
    stage.submit({"each": each}, "mapped")
    for status in ("completed", "failed", "completed"):
        stage.rest()
        (item,) = (one for one in stage.executor.held.values() if "each:" in one.task_id)
        stage.end(item, status, value={"n": item.params["n"]})
    stage.rest()


def _collected(stage: Stage) -> None:
    """Collect what has ended and what has not, with and without a vote; let each way end once."""
    stage.submit(CHAIN, "gathered")
    stage.rest()
    orders: tuple[tuple[str, str, int, list[str | int] | None, Any], ...] = (
        ("every", "all", 0, None, [["gathered", ["a", "b", ""]], ["completed", ["a", "b"]]]),
        ("first", "any", 1, None, [["gathered", ["a", "b"]], ["file", ["a"]]]),
        ("vote", "majority", 2, ["n"], [["gathered", ["a"]], ["row", ["a"]], ["none", [""]]]),
        ("late", "all", 0, None, [["gathered", ["b"]]]),
    )
    for name, rule, wanted, by, members in orders:
        due_ns = stage.clock.ns + 90 * 10**9 if name == "late" else 0
        body = OpenCollector(rule, wanted, by, None, due_ns, members, name.encode(), "golden")
        stage.node.accept(Message(collector_stream(name), body))
        stage.rest()
    for _ in range(2):
        stage.clock.ns += 61 * 10**9
        stage.rest()
    _live(stage)
    for _ in CHAIN:
        stage.end(_running(stage, "gathered"), value={"n": 1})
        stage.rest()
    for _ in range(2):
        stage.end(_running(stage, "collects"), value=["n"])
        stage.rest()


def _live(stage: Stage) -> None:
    """Let tasks collect by collectors of their own and by one that takes in members as they come.

    All of it ends when `gathered` does.
    """
    order = OpenCollector("all", 0, None, None, 0, [], b"live", "golden", "", {}, live=True)
    stage.node.accept(Message(collector_stream("live"), order))
    tasks: dict[str, Any] = {
        "own": {"collect": {"members": ["gathered/a"], "reduce": "x"}, "labels": {"by": "golden"}},
        "other": {"collect": {"collector": "live", "merge": "list"}},
    }
    stage.submit(tasks, "collects")
    stage.rest()
    for body in (AddMembers([["gathered", ["a", "c"]]], is_all=False), CloseCollector()):
        stage.node.accept(Message(collector_stream("live"), body))
        stage.rest()


def _undone(stage: Stage) -> None:
    """Let sagas complete, be undone, wait for a person, raise an alarm, be retried and resolved."""
    steps: dict[str, Any] = {
        "a": {"action": {"agent": "x"}, "compensation": {"agent": "y"}, "policy": "manual"},
        "b": {"action": {"agent": "x"}, "compensation": {"agent": "y", "retry": {"attempts": 1}},
              "needs": ["a"]},
        "c": {"action": {"agent": "x"}, "needs": ["b"]},
    }  # fmt: skip
    for saga in ("done", "undone", "given-up"):
        stage.node.accept(submission(steps, saga))
        stage.rest()
        for _ in steps:
            last = saga != "done" and _running(stage, f"~{saga}").task_id == "c"
            stage.end(_running(stage, f"~{saga}"), "failed" if last else "completed", saga)
            stage.rest()
    for saga in ("undone", "given-up"):
        stage.end(_running(stage, f"~{saga}"), "failed", code="timeout")
        stage.rest()
    for saga, body in (
        ("undone", RetrySaga("golden", "mended", 10.0)),
        ("given-up", ResolveSaga("seen to", "golden")),
    ):
        stage.node.accept(Message(saga_stream(saga), body))
        stage.rest()
    stage.end(_running(stage, "~undone"))
    stage.rest()
    stage.node.accept(Message(saga_stream("undone"), CompensateSaga("yes", "golden")))
    stage.rest()
    stage.end(_running(stage, "~undone"))
    stage.node.accept(submission({"a": {**steps["a"], "policy": "auto"}}, "runs-on"))
    stage.rest()
    attempt = stage.executor.held.pop(_running(stage, "~runs-on").token)
    outcome = Outcome(attempt.stream, attempt.token, "failed", code="timeout", abandoned=True)
    stage.node.accept_outcomes([outcome])
    stage.rest()
    stage.node.accept_outcomes([Outcome(attempt.stream, attempt.token, RETURNED)])
    stage.rest()


def _died(stage: Stage) -> None:
    """Leave dead letters: one is redriven with other parameters, one is discarded."""
    task = {"agent": "x", "with": {"n": 1}, "retry": {"on_exhausted": "dead_letter"}}
    stage.submit({"a": task, "b": task}, "died", on_failure="continue")
    stage.rest()
    for attempt in list(stage.executor.held.values()):
        if attempt.run_id == "died":
            stage.end(attempt, "failed")
    stage.rest()
    for body in (
        RedriveTask("a", 0, {"n": 2}, "mended", "golden", 10.0),
        DiscardTask("b", 0, "no use", "golden"),
    ):
        stage.node.accept(Message("workflow/died", body))
        stage.rest()
    stage.clock.ns += 200_000_000  # a saga was tried again just before, through the same lane
    stage.rest()
    stage.end(_running(stage, "died"))
    stage.rest()


def _losses(stage: Stage) -> Stage:
    """Let a process die, another one stop, and an attempt that was lost report all the same."""
    lost = _running(stage, "many")
    stage = stage.crash(change=_bugs)
    stage.rest()
    stage.node.accept_outcomes([Outcome(lost.stream, lost.token, "completed", "too late")])
    stage.rest()
    stage.node.record_closed()
    stage.commit()
    stage = stage.crash(change=_bugs)
    stage.rest()
    return stage


def _bugs_met(stage: Stage) -> None:
    """Let a task's decider fail, which fails the run, and a lane's, which gives up the lane."""
    stage.submit(BAD, "bad", lanes={"bad": {}})
    stage.submit(POISONED, "poisoned", lanes={"poisoned": {}})
    stage.finish()
    stage.submit(POISONED, "poisoned-later", lanes={"poisoned": {}})
    stage.finish()
    failed = [said for said in stage.log() if isinstance(said.fact, MessageFailed)]
    settled = MessageSettled(failed[0].number, "discarded", "mended", "golden")
    stage.node.dispatchers[failed[0].partition].record([settled], lambda _: None)
    stage.finish()


def _judged(stage: Stage) -> None:
    """Let the auditor think that runs are stuck, and think better of one."""
    for run in ("judged", "stuck"):
        stage.submit(CHAIN, run)
        stage.rest()
        for evidence in ([[f"task/{run}/a", "gone"]], [] if run == "judged" else None):
            if evidence is not None:
                stage.node.accept(Message(f"workflow/{run}", JudgeRun(evidence)))
                stage.rest()


def _unfinished(stage: Stage) -> None:
    """Leave an attempt running, a timer set, a lane with a queue, and a run in each.

    And a collector that waits for the first of these, and a schedule.
    """
    set_schedule(stage, "goes-on")
    stage.submit(ONE, "running")
    body = OpenCollector("all", 0, None, None, 0, [["running", ["a", ""]]], b"d", "golden")
    stage.node.accept(Message(collector_stream("waits"), body))
    stage.submit({"w": {"wait": "1h"}}, "waiting")
    stage.submit({"w": {"wait_for": {"signal": "go", "schema": {"type": "string"}}}}, "awaiting")
    stage.submit(MANY, "queueing", **LANES)
    stage.rest()


def _archive(journal: MemoryJournal) -> MemoryJournal:
    """Say of the first partition that it was archived, and that this expired."""
    journal.commit()
    journal = journal.crash()
    head, seq = journal.head(0), journal.last_seq(0, PARTITION_STREAM)
    digest, packed = bytes(range(32)), packer()
    builder = FrameBuilder(head.number + 1, packed)
    facts: list[SegmentSealed | SegmentsExpired] = [
        SegmentSealed("0-0.segment", 1, 1, 1, 1, 1000, digest, bytes(range(16)), 0),
        SegmentsExpired(2, "0-0.baseline", digest, 0),
    ]
    for place, fact in enumerate(facts, 1):
        name, version = FACTS.names[type(fact)]
        said = packed(Fact(PARTITION_STREAM, seq + place, name, version, list(fact)))
        builder.add_turn(Cause(), PARTITION_STREAM, seq + place, [said])
    where = (journal.log_id, 0, head.era, head.epoch, builder.first, builder.count)
    journal.append(builder.close(FrameHeader(*where, head.time_ns, head.hash)), lambda _: None)
    journal.commit()
    return journal


def _running(stage: Stage, run_id: str) -> StartAttempt:
    held: Mapping[Any, StartAttempt] = stage.executor.held
    return next(attempt for attempt in held.values() if attempt.run_id == run_id)
