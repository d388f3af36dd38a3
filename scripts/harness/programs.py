"""Random workflows whose outcome is known: their effects are computed while they are made.

DAGs to depth 6 and fan-out 20, of tasks that pass numbers on and add them to counters of the
ledger. Some wait, some have conditions, some fail a few times and then succeed, some fail for good,
some return large values, some go through narrow lanes, some do trees of durable steps that each add
to a counter, and sleep in between; agents are coroutines and threads.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.builder import Workflow

if TYPE_CHECKING:
    from goclaw.builder import OnFailure, TaskHandle

DEPTH_MAX: Final = 6
FAN_OUT_MAX: Final = 20
TASKS_MAX: Final = 100
COUNTERS: Final = 5
MODULUS: Final = 1_000_003
SHARED: Final = "shared"
SHARED_SLOTS: Final = 6
SLEEP_S: Final = 0.02
"""Longer than the children let an agent keep its slot."""
STEP_DEPTH_MAX: Final = 3
STEP_FAN_OUT_MAX: Final = 4
_WIDTHS: Final = (1, 2, 3, 4, 5, 8, 12, FAN_OUT_MAX)


class Effect(NamedTuple):
    """What a task does to the ledger, once for its idempotency key."""

    counter: str
    amount: int
    item: str


@dataclass
class Program:
    """A workflow and what must come of it.

    `effects`: by idempotency key. `exact`: all of them occur, otherwise (a failure ends the run
    early) any. `statuses`: how each task ends, if exact. `failures`: how many attempts of a task
    are recorded as failed, at least and at most. `lanes`: the slots of its lanes.
    """

    run_id: str
    workflow: Workflow
    exact: bool
    status: str = "completed"
    effects: dict[str, Effect] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    failures: dict[str, tuple[int, int]] = field(default_factory=dict)
    lanes: dict[str, int] = field(default_factory=dict)


class _Known(NamedTuple):
    """A task made so far: `amount` is what it passes on (None: nothing)."""

    handle: TaskHandle
    status: str
    amount: int | None


class _Maker:
    """Make one program."""

    def __init__(self, seed: str, run_id: str) -> None:
        self.rng = rng = random.Random(f"program/{seed}")  # noqa: S311 - to be repeated
        policy: OnFailure = rng.choice(["continue", "continue", "fail_fast", "let_finish"])
        self.workflow = Workflow(run_id, on_failure=policy)
        self.may_fail = policy != "continue" or rng.random() < 0.4  # noqa: PLR2004
        self.program = Program(run_id, self.workflow, exact=policy == "continue")
        slots = rng.randint(1, 3)
        self.workflow.lane("narrow", concurrency=slots)
        self.program.lanes = {
            f"{run_id}/narrow": slots, f"/{SHARED}": SHARED_SLOTS, "/default": 256
        }  # fmt: skip

    def make(self) -> Program:
        """Make layer after layer; a task needs at least one of the layer before."""
        rng, made, before = self.rng, list[_Known](), list[_Known]()
        for depth in range(rng.randint(1, DEPTH_MAX)):
            layer = []
            for place in range(min(rng.choice(_WIDTHS), TASKS_MAX - len(made))):
                needs = rng.sample(before, min(len(before), rng.choice([1, 1, 2, 4])))
                if made and rng.random() < 0.2:  # noqa: PLR2004
                    needs += [known for known in rng.sample(made, 1) if known not in needs]
                layer.append(self._task(f"t{depth}_{place}", needs))
            made += layer
            before = layer or before
        program = self.program
        program.statuses = {known.handle.id: known.status for known in made}
        if "failed" in program.statuses.values():
            program.status = "failed"
        else:
            program.exact = True
        return program

    def _task(self, task_id: str, needs: list[_Known]) -> _Known:
        rng = self.rng
        ended = {known.status for known in needs}
        status = "completed"
        if ended & {"failed", "blocked"}:
            status = "blocked"
        elif ended == {"skipped"}:
            status = "skipped"
        when = None
        sure = [known for known in needs if known.amount is not None]
        if sure and rng.random() < 0.15:  # noqa: PLR2004
            known, limit = rng.choice(sure), rng.randrange(MODULUS)
            when = "${tasks." + known.handle.id + ".result.total} > " + str(limit)
            if status == "completed" and not (known.amount or 0) > limit:
                status = "skipped"
        handles = [known.handle for known in needs]
        if rng.random() < 0.1:  # noqa: PLR2004
            pause = f"{rng.randint(1, 20)}ms"
            return _Known(
                self.workflow.wait(task_id, pause, needs=handles, when=when), status, None
            )
        return self._agent(task_id, needs, when, status)

    def _agent(self, task_id: str, needs: list[_Known], when: str | None, status: str) -> _Known:
        rng, program, begins = self.rng, self.program, status == "completed"
        amount = rng.randrange(1, 1000)
        total = (amount + sum(known.amount or 0 for known in needs)) % MODULUS
        effect = Effect(f"c{rng.randrange(COUNTERS)}", total, f"{program.run_id}/{task_id}")
        params: dict[str, Any] = {
            "amount": amount,
            "counter": effect.counter,
            "upstream": [known.handle.result for known in needs],
            "pause_ms": rng.choice([0, 0, 2, 5, 20, 50]),
        }
        retry = None
        way = rng.random()
        key = f"{program.run_id}/{task_id}/0"
        if way < 0.05 and self.may_fail:  # noqa: PLR2004
            params["doom"] = rng.choice(["final", "tried"])
            attempts = rng.randint(1, 3)
            retry = {"attempts": attempts, "initial": "2ms", "jitter": "none"}
            if status == "completed":
                status = "failed"
                tries = 1 if params["doom"] == "final" else attempts
                program.failures[task_id] = (tries, tries)
        elif way < 0.15:  # noqa: PLR2004
            params["flakes"] = rng.randint(1, 3)
            retry = {"attempts": 4, "initial": "2ms"}
            # A flake that was lost with its process is written down, and fails no attempt.
            program.failures[task_id] = (0, params["flakes"])
        elif way < 0.2:  # noqa: PLR2004
            params["ballast"] = 70_000
        if begins and rng.random() < 0.3:  # noqa: PLR2004
            params["steps"] = self._steps(key, STEP_DEPTH_MAX, "s")
            params["sleep_s"] = SLEEP_S if rng.random() < 0.5 else 0.0  # noqa: PLR2004
        if status == "completed":
            program.effects[key] = effect
        handle = self.workflow.task(
            task_id,
            agent=f"harness.{rng.choice(['soft', 'hard'])}",
            needs=[known.handle for known in needs],
            with_=params,
            when=when,
            lane=self._lane(params),
            priority=rng.choice([0, 0, 0, 5, -5]),
            retry=retry,
        )
        return _Known(handle, status, total if status == "completed" else None)

    def _steps(self, key: str, depth: int, name: str) -> list[Any]:
        """Return a tree of steps: [name, counter, amount, those that come after it, at once]."""
        rng = self.rng
        counter, amount = f"c{rng.randrange(COUNTERS)}", rng.randrange(1, 1000)
        step_key = f"{key}/add/{name}"
        self.program.effects[step_key] = Effect(counter, amount, step_key)
        many = rng.randint(0, STEP_FAN_OUT_MAX) if depth > 1 else 0
        below = [self._steps(key, depth - 1, f"{name}{place}") for place in range(many)]
        return [name, counter, amount, below]

    def _lane(self, params: dict[str, Any]) -> str | None:
        lane = self.rng.choice([None, None, "narrow", f"/{SHARED}"])
        names = {None: "/default", "narrow": f"{self.program.run_id}/narrow"}
        params["lane"] = names.get(lane, f"/{SHARED}")
        return lane


def program(seed: str, number: int) -> Program:
    """Make the `number`-th program of a seed; always the same."""
    return _Maker(f"{seed}/{number}", f"p{number}").make()
