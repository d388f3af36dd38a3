"""Random runs that mostly wait, whose outcome is known: for time, for signals, people and others.

An errand is a program of a few parts side by side (see `errand_parts`), each of which ends as it is
drawn to; behind each stands a task that adds what came of it to a counter of the ledger. What
people are to say is drawn with it. Where two things race, what either comes to is known.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.builder import Workflow
from goclaw.submission import id_for
from scripts.harness.programs import COUNTERS, MODULUS, Effect, Program

if TYPE_CHECKING:
    from goclaw.builder import TaskHandle

PARTS_MAX: Final = 4
CHORE: Final = "chore"
"""The workflow that errands have others run."""
LONG: Final = "1h"
"""A deadline that nothing here meets."""
APPROVAL: Final = "approval"
SIGNAL: Final = "signal"


class Word(NamedTuple):
    """Something that a person says to a run: a signal (`task` is its name), or what they decide.

    `kind`: signal, approve or reject. `refusals`: the codes with which it may be refused; `taken`:
    whether it may be taken.
    """

    id: str
    kind: str
    task: str
    more: dict[str, Any]
    taken: bool = True
    refusals: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """What is decided about a dead letter: `how` is redrive or discard."""

    how: str
    edits: dict[str, Any] | None = None


class Question(NamedTuple):
    """A task that waits for an answer: what may be its answer, by the id of who gave it.

    `effects`: where it depends on the answer, what the task behind it does.
    """

    answers: tuple[str, ...]
    key: str = ""
    effects: dict[str, Effect] | None = None


@dataclass
class Errand:
    """A run that waits, and what must come of it.

    `program`: the run; `below`: the runs that it has others do. `said`: who says what, each list in
    its order; `late`: what is said when it has ended. `letters`: by task, what is decided about
    each of its generations. `is_recalled`: somebody cancels it.
    """

    key: str
    program: Program
    until_s: float
    below: list[Program] = field(default_factory=list)
    said: list[list[Word]] = field(default_factory=list)
    late: list[Word] = field(default_factory=list)
    letters: dict[str, list[Verdict]] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    is_recalled: bool = False

    @property
    def run_id(self) -> str:
        """Return the id of the run: it follows from the key."""
        return self.program.run_id

    def input(self, born_s: float) -> dict[str, str]:
        """Return the input of the run, in a world that began at a time of the wall clock."""
        until = datetime.fromtimestamp(born_s, UTC) + timedelta(seconds=self.until_s)
        return {"until": until.isoformat()}


class Draft:
    """An errand that is being made, part after part."""

    def __init__(self, seed: str, number: int) -> None:
        self.rng = random.Random(f"errand/{seed}/{number}")  # noqa: S311 - to be repeated
        self.name, key = f"w{number}", f"key-{number}"
        self.run_id = id_for("run", self.name, None, key, 0)
        self.workflow = Workflow(self.name, on_failure="continue")
        self.workflow.lane("narrow", concurrency=2)
        self.until = self.workflow.input("until", type="string")
        program = Program(self.run_id, self.workflow, exact=True)
        program.lanes = {f"{self.name}/narrow": 2, "/default": 256}
        self.errand = Errand(key, program, self.rng.uniform(0, 2))
        self.before: TaskHandle | None = None
        """What the next part needs."""

    @property
    def needs(self) -> list[TaskHandle]:
        """Return what a part needs: mostly nothing, else something that completes."""
        is_needed = self.before is not None and self.rng.random() < 0.4  # noqa: PLR2004
        return [self.before] if self.before is not None and is_needed else []

    def amount(self) -> int:
        """Draw an amount."""
        return self.rng.randrange(1, 1000)

    def counter(self) -> str:
        """Draw a counter."""
        return f"c{self.rng.randrange(COUNTERS)}"

    def work(self, upstream: object = ()) -> dict[str, Any]:
        """Draw the parameters of an agent that has an effect."""
        pause_ms = self.rng.choice([0, 0, 2, 5, 20, 100])
        said = {"amount": self.amount(), "counter": self.counter(), "pause_ms": pause_ms}
        return {**said, "lane": "/default", "upstream": upstream}

    def agent(self) -> str:
        """Draw an agent."""
        return self.rng.choice(["harness.soft", "harness.hard"])

    def expect(self, program: Program, task: str, params: dict[str, Any], upstream: int = 0) -> int:
        """Expect a task to complete with an effect; return what it passes on."""
        total: int = (params["amount"] + upstream) % MODULUS
        effect = Effect(params["counter"], total, f"{program.run_id}/{task}")
        program.effects[f"{program.run_id}/{task}/0"] = effect
        return total

    def end(self, task: str, status: str) -> None:
        """Expect a task of the run itself to end so."""
        self.errand.program.statuses[task] = status

    def behind(
        self, part: TaskHandle, status: str, upstream: object, came: dict[str, int]
    ) -> dict[str, Effect]:
        """Add the task that adds up what came of a part, and expect both to end so.

        `came`: by answer (or ''), what it is given. Returns the effects by answer.
        """
        task, params = f"{part.id}_sum", self.work(upstream)
        lane = self.rng.choice([None, "narrow"])
        params["lane"] = f"{self.name}/{lane}" if lane else "/default"
        handle = self.workflow.task(
            task, agent=self.agent(), needs=[part], with_=params, lane=lane
        )  # fmt: skip
        self.end(part.id, status)
        self.end(task, {"failed": "blocked"}.get(status, status))
        if status != "completed":
            return {}
        self.before = handle
        effects = {}
        for answer, amount in came.items():
            self.expect(self.errand.program, task, params, amount)
            effects[answer] = self.errand.program.effects[f"{self.run_id}/{task}/0"]
        return effects

    def question(self, part: TaskHandle, *answers: str, effects: dict[str, Effect]) -> None:
        """Expect a part to be answered by one of these ('': by nobody)."""
        key = f"{self.run_id}/{part.id}_sum/0"
        self.errand.questions[part.id] = Question(answers, key, effects or None)

    def word(self, kind: str, task: str, number: int, **more: Any) -> Word:
        """Return something to say."""
        return Word(f"{self.name}-{task}-{number}", kind, task, more)

    def done(self) -> Errand:
        """Return the errand."""
        program, rng = self.errand.program, self.rng
        if "failed" in program.statuses.values():
            program.status = "failed"
        self.errand.is_recalled = rng.random() < 0.08  # noqa: PLR2004
        return self.errand
