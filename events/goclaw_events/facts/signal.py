"""What was said to a task while it goes on, and what became of that. In the task's own stream.

A signal that was accepted is *offered* to the attempt that runs (`attempt`), or to the next one
that starts; offering needs no fact of its own. It is over once it was consumed and the attempt
that took it saved its state or completed, or when it ended otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


class SignalAccepted(NamedTuple):
    """Somebody told the task something.

    `kind` `params`: `body` is a patch, part of the task's parameters from now on, and there is
    nothing more to come of it. `kind` `message`: it waits to be consumed; `mode` says how
    (`steer`, `followup`, `coalesce`). `deadline_ns`: when it expires; `ready_ns`: when it may be
    offered; 0: there is no such time. `attempt`: which attempt it was offered to at once, 0: none.
    """

    signal: str
    kind: str
    mode: str
    body: Value
    sender: str
    deadline_ns: int = 0
    ready_ns: int = 0
    attempt: int = 0


class SignalConsumed(NamedTuple):
    """The handler took the signal: once for each attempt that did."""

    signal: str
    attempt: int
    token: int


class SignalEnded(NamedTuple):
    """Nobody will take the signal: `state` is declined, expired or withdrawn.

    Where a `SignalConsumed` follows, the handler had taken it in the same moment.
    """

    signal: str
    state: str
    reason: str


class StateSaved(NamedTuple):
    """The handler saved its state; what it had consumed before is done with.

    `saves` counts what this attempt saved.
    """

    attempt: int
    token: int
    state: Value
    saves: int


SignalFact: TypeAlias = SignalAccepted | SignalConsumed | SignalEnded | StateSaved
