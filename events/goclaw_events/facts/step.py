"""The durable steps of a task: what its handler did once and for all. In the task's own stream.

A step is known by (`name`, `key`) within a generation of the task: every attempt that asks for it
gets the same record. Names that begin with `$` are the engine's: what it recorded of the clock, of
chance, and of sleep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


class StepRecorded(NamedTuple):
    """A step was done, and came to `result`, which is never overwritten.

    `digest` is that of its arguments; b"": none is kept. `attempt` did it.
    """

    attempt: int
    token: int
    name: str
    key: str
    digest: bytes
    result: Value


class StepsUnused(NamedTuple):
    """The attempt that completed did not ask for so many (`unused`) steps recorded before it.

    `steps` are the first of them, each [name, key].
    """

    attempt: int
    token: int
    unused: int
    steps: list[list[str]]


class AttemptSlept(NamedTuple):
    """The handler sleeps until `due_ns`: the attempt ended, and its slot is given back.

    Another attempt then goes on: it gets what was recorded, its sleep included. `awaited`: it goes
    on earlier, once all spawned tasks with these keys have ended.
    """

    attempt: int
    token: int
    due_ns: int
    awaited: list[str] | None = None


StepFact: TypeAlias = StepRecorded | StepsUnused | AttemptSlept
