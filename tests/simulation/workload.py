"""Random workflows and what their agents return: rich in what can go wrong."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.work import Outcome
from goclaw_events.loading import definition_from
from goclaw_events.plan import Plan, compile_plan
from goclaw_events.value import store
from tests.simulation.clock import START_NS

if TYPE_CHECKING:
    from goclaw_actors.work import StartAttempt
    from tests.simulation.options import Options

LARGE: Final = "x" * (66 * 1024)
CHILD: Final = "kid"
TRIP: Final = "trip"
"""What a saga is called that tasks are."""
OVERFLOWS: Final = (
    "reject",
    "drop_oldest",
    "drop_newest",
    "block",
    "block",
    "redirect",
    "redirect",
)
OF_ITEMS: Final = frozenset({"agent", "workflow", "wait"})
"""Kinds of work that are done for each item of a list, besides what few tasks are."""
CODES: Final = (
    "agent_error", "timeout", "agent_cancelled", "", "bad_params", "value_not_storable",
    "value_too_large", "agent_unknown", "executor_exhausted", "own.code",
)  # fmt: skip
"""Every code that an executor gives a failed attempt, and one of an agent's own."""


def random_plan(rng: random.Random, options: Options) -> Plan:
    """Return a plan with random needs, lanes, conditions, waits, retries and failure policy.

    Three definitions share the names, so their lanes: each submission declares them anew, often
    with other limits. `metadata` tells the checks what the conditions are.
    """
    name = f"w{rng.randrange(3)}"
    lanes: dict[str, Any] = {
        f"l{index}": {
            "concurrency": rng.choice([1, 1, 2, 3]),
            "capacity": rng.choice([1, 2, 100, 100]),
        }
        for index in range(rng.randint(0, 2))
    }
    choices = [*lanes, "/shared"]
    conditions: dict[str, Any] = {}
    tasks: dict[str, Any] = {}
    if options.fan_out and rng.random() < 0.3:
        tasks["root"] = {"agent": "sim.agent"}
        for index in range(options.fan_out):
            tasks[f"f{index}"] = _task(rng, ["root"], choices, f"f{index}", conditions)
        tasks["join"] = {"agent": "sim.agent", "needs": [f"f{i}" for i in range(options.fan_out)]}
    else:
        for index in range(rng.randint(1, options.tasks_max)):
            before = list(tasks)
            needs = rng.sample(before, min(len(before), rng.choice([0, 1, 1, 2, 3])))
            tasks[f"t{index}"] = _task(rng, needs, choices, f"t{index}", conditions)
    definition = {
        "name": name,
        "on_failure": rng.choice(["fail_fast", "let_finish", "continue"]),
        "lanes": lanes,
        "tasks": tasks,
        "metadata": {"conditions": conditions},
    }
    if rng.random() < 0.2:
        definition["output"] = {"last": f"${{tasks.{list(tasks)[-1]}.result.n}}"}
    _limit_and_nest(definition)
    _wait_until(definition)
    _limit_lanes(definition)
    _scale_lanes(definition)
    if options.rate("saga"):
        _nest_sagas(definition)
    if options.rate("collect"):
        _make_collect(definition)
    if options.rate("dead"):
        _make_letters(definition)
    if options.rate("answer"):
        _ask_others(definition)
    if options.rate("foreach"):
        _make_foreach(definition)
    return compile_plan(definition_from(definition, name))


def _wait_until(definition: dict[str, Any]) -> None:
    """Let some waits end at a time, which may be past; drawn as in `_limit_and_nest`."""
    rng = random.Random("until" + repr(definition))
    for task in definition["tasks"].values():
        if "wait" in task and rng.random() < 0.4:
            at_s = START_NS // 10**9 + rng.choice([-60, 1, 90, 600])
            zone = timezone(timedelta(hours=rng.randint(-11, 11)))
            task["wait"] = {"until": datetime.fromtimestamp(at_s, zone).isoformat()}


def _ask_others(definition: dict[str, Any]) -> None:
    """Let some tasks wait for signals, or for people; drawn as in `_limit_and_nest`."""
    rng = random.Random("answer" + repr(definition))
    for name, task in definition["tasks"].items():
        likely = 0.7 if "wait" in task else 0.12
        if rng.random() > likely or not {"wait", "agent"} & task.keys():
            continue
        kept = {key: task[key] for key in ("needs", "when") if key in task}
        said: dict[str, Any] = {}
        if rng.random() < 0.4:
            said["deadline"] = rng.choice(["1s", "90s", "10m"])
        if rng.random() < 0.6:
            said |= {"signal": rng.choice(["go", "stop"])}
            said["on_deadline"] = rng.choice(["fail", "skip", "continue"])
            definition["tasks"][name] = {**kept, "wait_for": said}
            continue
        said |= {"who": ["uid:1"], "message": "${task.id}", "arguments": {"n": 1}}
        said["on_deadline"] = rng.choice(["fail", "approve", "reject", "skip"])
        said["on_reject"] = rng.choice(["fail", "skip", "continue"])
        definition["tasks"][name] = {**kept, "approval": said}


def child_plan() -> Plan:
    """Return the plan of the runs that are tasks of other runs."""
    definition = {
        "name": CHILD,
        "input": {name: {"required": False} for name in ("from", "read", "n", "all")},
        "tasks": {
            "work": {"agent": "sim.agent", "lane": "/shared", "retry": {"attempts": 2}},
            "pause": {"wait": "1s", "needs": ["work"]},
            "more": {"agent": "sim.agent", "needs": ["pause"]},
        },
        "output": "${tasks.more.result}",
        "metadata": {"conditions": {}},
    }
    return compile_plan(definition_from(definition, CHILD))


def _limit_and_nest(definition: dict[str, Any]) -> None:
    """Give some tasks limits of time, make some of them runs, let some runs have a deadline.

    What is drawn depends on the definition alone: nothing else of a seed changes by it.
    """
    rng = random.Random(repr(definition))
    if rng.random() < 0.1:
        definition["timeout"] = rng.choice(["5s", "5m", "1h"])
    for task in definition["tasks"].values():
        if "wait" in task:
            continue
        if rng.random() < 0.05:
            task["queue_timeout"] = rng.choice(["1s", "90s"])
        if rng.random() < 0.05:
            task["total_timeout"] = rng.choice(["1s", "90s", "10m"])
        if rng.random() < 0.06:
            del task["agent"]
            task["workflow"] = CHILD


def _nest_sagas(definition: dict[str, Any]) -> None:
    """Make some tasks sagas; drawn as in `_limit_and_nest`."""
    rng = random.Random("trip" + repr(definition))
    for name, task in definition["tasks"].items():
        if "agent" in task and "unique" not in task and rng.random() < 0.12:
            kept = {key: task[key] for key in ("needs", "when") if key in task}
            definition["tasks"][name] = {**kept, "saga": TRIP}


def _limit_lanes(definition: dict[str, Any]) -> None:
    """Let some lanes limit more than slots, and their tasks ask for keys, units and more.

    What is drawn depends on the definition alone, and other definitions share the lanes: limits
    change under way, and a task may ask for more than there is now.
    """
    rng = random.Random(repr(definition) + "lanes")
    lanes = list(definition["lanes"].items())
    for at, (_, lane) in enumerate(lanes):
        lane["overflow"] = rng.choice(OVERFLOWS)
        if lane["overflow"] == "redirect":
            lane["redirect_to"] = rng.choice(["/shared", *(other for other, _ in lanes[at + 1 :])])
        if lane["overflow"] in ("block", "redirect"):
            lane["capacity"] = rng.choice([1, 1, 2, 40])
        if lane["overflow"] == "block" and rng.random() < 0.2:
            lane["waiters_max"] = 1
    _crowd(rng, definition)
    _make_unique(rng, definition)
    limited = [lane for lane in definition["lanes"].values() if rng.random() < 0.4]
    for lane in limited:
        lane["resources"] = {"gpu": rng.choice([2, 3])}
        lane["ageing"] = rng.choice([0, 1, 60])
        lane["fair_by"] = rng.choice(["tenant", "workflow", "none"])
        if rng.random() < 0.5:
            lane["per_tenant"] = rng.choice([1, 2])
        if rng.random() < 0.5:
            kind = rng.choice(["token_bucket", "leaky_bucket"])
            lane["rate"] = {"per_second": rng.choice([0.5, 3]), "burst": 2, "kind": kind}
    for task in definition["tasks"].values():
        lane = definition["lanes"].get(task.get("lane"))
        if lane not in limited:
            continue
        if rng.random() < 0.5 and lane["overflow"] != "redirect":
            task["units"] = {"gpu": rng.choice([1, 2])}
        if rng.random() < 0.5:
            task["lane"] = {"name": task["lane"], "key": "${task.id}"}
        task["cost"] = rng.choice([0.5, 1.0, 3.0])


def _crowd(rng: random.Random, definition: dict[str, Any]) -> None:
    """Send most tasks of some runs through one lane that blocks or redirects, side by side."""
    full = [
        name
        for name, lane in definition["lanes"].items()
        if "capacity" in lane and lane["overflow"] in ("block", "redirect")
    ]
    if not full or rng.random() < 0.4:
        return
    name = rng.choice(full)
    definition["lanes"][name]["concurrency"] = 1
    for task in definition["tasks"].values():
        if "agent" in task and rng.random() < 0.9:
            task["lane"] = name


def _scale_lanes(definition: dict[str, Any]) -> None:
    """Let the slots of some lanes follow the load; drawn as in `_limit_lanes`."""
    rng = random.Random(repr(definition) + "scale")
    for lane in definition["lanes"].values():
        if rng.random() < 0.15:
            lane.pop("concurrency", None)
            least = rng.choice([1, 1, 2])
            lane["scale"] = {"min": least, "max": least + rng.choice([0, 2, 5]), "wait": "1s"}


def _make_collect(definition: dict[str, Any]) -> None:
    """Let some tasks collect how some of those before them end; drawn as in `_limit_lanes`."""
    rng = random.Random(repr(definition) + "collect")
    names = list(definition["tasks"])
    for at, (name, before) in enumerate(list(definition["tasks"].items())):
        if not at or "agent" not in before or rng.random() > 0.25:
            continue
        task = {key: value for key, value in before.items() if key not in ("agent", "unique")}
        if rng.random() < 0.2:
            collect: dict[str, Any] = {"members": [rng.choice(["r0", "r1/t0", "r9/none"])]}
        else:
            collect = {"tasks": rng.sample(names[:at], min(at, rng.choice([1, 2, 3])))}
        collect["rule"] = rng.choice(["all", "any", "quorum", "majority"])
        collect["on_unmet"] = rng.choice(["fail", "go_on"])
        if rng.random() < 0.2:
            collect["deadline"] = rng.choice(["1s", "10m"])
        definition["tasks"][name] = {**task, "collect": {**collect, "reduce": "sim.agent"}}


def _make_letters(definition: dict[str, Any]) -> None:
    """Let some tasks become dead letters; drawn as in `_limit_lanes`."""
    rng = random.Random(repr(definition) + "dead")
    for task in definition["tasks"].values():
        if "wait" not in task and rng.random() < 0.4:
            task["retry"] = {**task.get("retry", {}), "on_exhausted": "dead_letter"}


def _make_foreach(definition: dict[str, Any]) -> None:
    """Let some tasks work on the items of a list; drawn as in `_limit_lanes`."""
    rng = random.Random(repr(definition) + "foreach")
    for task in definition["tasks"].values():
        is_rare = {"wait_for", "approval", "saga"} & set(task)
        if not (is_rare or OF_ITEMS & set(task)) or rng.random() > (0.9 if is_rare else 0.25):
            continue
        if "wait_for" in task and rng.random() < 0.5:
            task["wait_for"]["signal"] += "-${index}"
        if task.get("with") and rng.random() < 0.5:
            task["foreach"] = "${needs}"  # no list
        else:
            task["foreach"] = [{"n": at} for at in range(rng.choice([0, 1, 2, 3, 5]))]
        if "agent" in task:
            task["with"] = {"item": "${item}", "place": "${index}", "run": "${run.id}"}
        task["parallel"] = rng.choice([1, 1, 2, 3])
        task["on_item_failure"] = rng.choice(["fail_fast", "let_finish", "continue", "continue"])
        task["item_results"] = rng.choice(["values", "outcomes"])
        if task["on_item_failure"] == "continue" and rng.random() < 0.5:
            task["item_failures_max"] = rng.choice([0, 1])


def _make_unique(rng: random.Random, definition: dict[str, Any]) -> None:
    """Let some tasks have one key each over all runs of the definition."""
    for task in definition["tasks"].values():
        if "wait" in task or rng.random() > 0.2:
            continue
        kind = rng.choice(["refuse", "join", "join", "replace"])
        task["unique"] = {"key": "${task.id}", "on_duplicate": kind}
        if rng.random() < 0.5:
            task["unique"]["window"] = rng.choice(["1s", "10m"])


def _task(
    rng: random.Random, needs: list[str], lanes: list[str], name: str, conditions: dict[str, Any]
) -> dict[str, Any]:
    if rng.random() < 0.1:
        duration = rng.choice(["1ms", "1s", "90s", "10m"])
        if needs and rng.random() < 0.2:
            duration = f"${{tasks.{needs[0]}.result.n}}"
        return {"wait": duration, "needs": needs}
    task: dict[str, Any] = {"agent": "sim.agent", "needs": needs, "priority": rng.randint(-2, 2)}
    if rng.random() < 0.7:
        task["lane"] = rng.choice(lanes)
    if needs and rng.random() < 0.5:
        task["with"] = {
            "from": needs[0],
            "read": f"${{tasks.{needs[0]}.result}}",
            "n": f"${{tasks.{needs[0]}.result.n}}",
            "all": "${needs}",
        }
    if needs and rng.random() < 0.2:
        than = rng.randint(0, 9)
        conditions[name] = [needs[0], than]
        task["when"] = f"${{tasks.{needs[0]}.result.n}} > {than}"
    if rng.random() < 0.5:
        task["retry"] = {
            "attempts": rng.randint(2, 4),
            "backoff": rng.choice(["fixed", "linear", "exponential"]),
            "initial": "100ms",
            "max": "2s",
        }
    return task


def random_outcome(rng: random.Random, attempt: StartAttempt, options: Options) -> Outcome:
    """Return how an attempt ends: mostly well, with any value, else with any code."""
    if options.rate("fail") and rng.random() < 0.25:
        dies = bool(options.rate("dead")) and rng.random() < 0.2
        return Outcome(
            attempt.stream,
            attempt.token,
            "failed",
            code="worker_died" if dies else rng.choice(CODES),
            message="it went wrong",
            trace="somewhere",
            abandoned=rng.random() < 0.1,
            retryable=rng.random() < 0.9,
        )
    if options.rate("limited") and rng.random() < 0.1:
        return Outcome(
            attempt.stream, attempt.token, "failed", code="rate_limited", message="not now",
            retry_after_s=rng.choice([0.0, 0.5, 30.0, 600.0]), limited=True,
        )  # fmt: skip
    value: Any = {"n": rng.randint(0, 9)}
    if options.rate("large") and rng.random() < 0.2:
        value["pad"] = f"{LARGE}{rng.randint(0, 3)}"
    elif rng.random() < 0.1:
        value = rng.choice([None, 7, "text", [1, {"n": 2}], {"n": "seven"}, {}])
    blobs: dict[bytes, bytes] = {}
    return Outcome(attempt.stream, attempt.token, "completed", store(value, blobs), blobs or None)
