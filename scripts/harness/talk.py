"""What is said to the tasks of a world of signals: drawn from a seed, the same each time.

A world has some runs, each with three tasks whose agents listen until somebody says `stop`, the
first with one more, in a process; and one that collects how these end. To each task words are said
one after another, numbered; the next boot goes on where the last stopped.
"""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from goclaw.builder import Workflow

RUNS: Final = 3
TASKS: Final = {"a": "soft", "b": "hard", "c": "soft"}
"""By task: the agent that runs it; `c` begins when `a` has ended, so that much is said before."""
APART: Final = (0, "d")
"""The run and the task whose agent has a process of its own."""
SUM: Final = "sum"
"""The task of each run that collects what became of the others."""
STOP: Final = "stop"
UNBEGUN: Final = 5
"""The first words interrupt nobody: a task that has not begun would be over."""
_KINDS: Final = {
    "steer": 45, "followup": 8, "coalesce": 7, "reject": 3, "params": 12, "interrupt": 7,
    "pause": 5, "resume": 14, "adjust": 8,
}  # fmt: skip
HOLDS: Final = frozenset({"interrupt", "pause", "resume"})
MODES: Final = frozenset({"steer", "followup", "coalesce", "reject"})
EXPECTED: Final = frozenset(
    {"signals_full", "task_finished", "task_not_held", "task_busy", "signal_invalid"}
)
"""With these a word may be refused at any time; invalid is one whose deadline is over already."""


class Word(NamedTuple):
    """One thing to say; `more` is what its kind takes."""

    id: str
    kind: str
    more: dict[str, Any]


class Gathering(NamedTuple):
    """A collector over tasks of one run, or of all."""

    id: str
    members: list[str]
    more: dict[str, Any]


def gatherings() -> list[Gathering]:
    """Return the collectors of a world."""
    every = [Gathering(f"all-{run}", members_of(run), {"rule": "all"}) for run in range(RUNS)]
    firsts = [f"s{run}/a" for run in range(RUNS)]
    return [*every, Gathering("two", firsts, {"rule": "first_n", "count": 2})]


def tasks_of(run: int) -> dict[str, str]:
    """Return the tasks of a run that listen, with their agents."""
    return {**TASKS, APART[1]: "apart"} if run == APART[0] else TASKS


def members_of(run: int) -> list[str]:
    """Return these tasks as a collector names them."""
    return [f"s{run}/{task}" for task in tasks_of(run)]


def workflow_of(run: int, home: str, seed: str) -> Workflow:
    """Return a run of tasks that listen, some of them through a lane of one slot."""
    made = Workflow(f"s{run}", on_failure="continue")
    made.lane("one", concurrency=1)
    made.lane("two", concurrency=2)
    handles: dict[str, Any] = {}
    for task, agent in tasks_of(run).items():
        handles[task] = made.task(
            task,
            agent=f"talk.{agent}",
            needs=[handles["a"]] if task == "c" else [],
            with_={"knob": 0, "home": home, "seed": seed},
            lane=["one", "two"][(run + len(handles)) % 2],
            retry={"attempts": 1_000, "initial": "1ms", "max": "1ms"},
        )
    made.task(SUM, collect={"tasks": list(handles), "merge": "by_member", "on_unmet": "go_on"})
    return made


def word(seed: str, run: int, task: str, number: int) -> Word:
    """Return the `number`-th word to a task; always the same."""
    rng = random.Random(f"{seed}/{run}/{task}/{number}")  # noqa: S311 - to be repeated
    name = f"s{run}-{task}-{number}"
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    if kind == "interrupt" and number < UNBEGUN:
        kind = "steer"
    if kind == "params":
        return Word(name, kind, {"params": {"knob": number}})
    if kind == "adjust":
        return Word(name, kind, {"changes": _changes(rng)})
    if kind == "interrupt":
        return Word(name, kind, rng.choice([{"timeout_s": 0.2}, {"graceful": False}]))
    if kind in HOLDS:
        return Word(name, kind, {})
    more: dict[str, Any] = {"body": name, "mode": kind}
    if kind == "coalesce":
        more["quiet_s"] = 0.02
    if rng.random() < 0.05:  # noqa: PLR2004
        more["deadline_s"] = 0.1
    return Word(name, kind, more)


def _changes(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        [
            {"priority": rng.randint(-5, 5)},
            {"lane": rng.choice(["one", "two", "/default"])},
            {"timeout": rng.choice(["1h", None]), "deadline": rng.choice(["2h", None])},
            {"retry": {"attempts": rng.randint(500, 1_000)}},
        ]
    )


def number_of(name: str) -> int:
    """Return the number of a word by its id; -1 of one that is not numbered."""
    last = name.rpartition("-")[2]
    return int(last) if last.isdigit() else -1
