"""Decide what tasks ask people: the same words on `Engine` and `Client`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from goclaw.pathing import Pathing
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

AS_ASKED: Final[Any] = object()
"""In place of arguments that are not edited."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about a task, by whom (`uid:1000/ann`: proved, and claimed).

    `verdict`: approved or rejected. `repeated`: it had been taken before.
    """

    decision: str
    run_id: str
    task: str
    verdict: str
    by: str
    repeated: bool = False


class Deciding(Pathing):
    """Answer tasks of the kind `approval`. Each returns once it is durable.

    `decision_id` (a new one, unless given) makes a repeat harmless. `sender`, a name of one's own
    choice, is recorded behind the one that the transport proved; where the task asks for names that
    have to be proved it is not enough. Raises `CommandRefused`: `approval_decided` (by whom),
    `approval_forbidden`, `approval_not_open`, `approval_invalid`.
    """

    async def approve(
        self,
        run_id: str,
        task: str,
        *,
        reason: str = "",
        arguments: Any = AS_ASKED,
        decision_id: str | None = None,
        sender: str = "",
    ) -> Decided:
        """Approve what a task asks, as it stands or with other `arguments`."""
        edited = arguments is not AS_ASKED
        more = {"edited": edited, "arguments": arguments if edited else None}
        return await self._decide("approve", run_id, task, reason, decision_id, sender, more)

    async def reject(
        self,
        run_id: str,
        task: str,
        *,
        reason: str = "",
        decision_id: str | None = None,
        sender: str = "",
    ) -> Decided:
        """Reject what a task asks: its definition says what follows."""
        return await self._decide("reject", run_id, task, reason, decision_id, sender, {})

    async def inbox(
        self,
        *,
        mine: bool = False,
        sender: str = "",
        who: str = "",
        kind: Literal["approval", "signal"] | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Return what waits for people, and for signals, the most urgent first.

        By deadline, what has none behind all that have one; then the oldest. `mine`: only what
        whoever asks may decide; `who`: only what that name may (`user:ann`, or a claimed one).
        """
        params = {
            "mine": mine, "sender": sender, "who": who, "kind": kind, "limit": limit,
            "min_position": "now",
        }  # fmt: skip
        items: list[dict[str, Any]] = (await self._ask_signal("inbox.list", params))["items"]
        return items

    async def _decide(
        self,
        verb: str,
        run_id: str,
        task: str,
        reason: str,
        decision_id: str | None,
        sender: str,
        more: Mapping[str, Any],
    ) -> Decided:
        decision_id = decision_id if decision_id is not None else new_id("dec", time.time_ns())
        params = {
            "run_id": run_id, "task": task, "decision_id": decision_id, "reason": reason,
            "sender": sender, **more,
        }  # fmt: skip
        return Decided(**await self._ask_signal("approval." + verb, params))
