"""Talk to work that goes on: the same words on `Engine` and `Client`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from goclaw.deciding import Deciding
from goclaw.signals import Signalled
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.signals import Level


class Signalling(Deciding):
    """Send signals to the tasks of runs. Each returns once it is durable.

    `task` may be left out where the run has one task only. `signal_id` (a new one, unless given)
    makes a repeat harmless: it gets the first answer. `sender`, a name of one's own choice, is
    recorded behind the one that the transport proved (`uid:1000/reviewer`). `wait` (any
    state of `Signalled`) returns when it has come so far, or will not; after `timeout_s` it
    raises `TimedOut`, and the signal is there all the same. With `if_version` a run must still have
    the version that was shown of it (`run_changed`). Raises `CommandRefused` with the code of the
    refusal.
    """

    async def steer(
        self,
        run_id: str,
        params: Mapping[str, Any],
        *,
        task: str | None = None,
        signal_id: str | None = None,
        sender: str = "",
    ) -> Signalled:
        """Change parameters of a task: at once where it runs, and for every later attempt."""
        return await self._signal("steer", run_id, task, signal_id, sender, params=dict(params))

    async def adjust(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        task: str | None = None,
        signal_id: str | None = None,
        sender: str = "",
    ) -> Signalled:
        """Change how a task that is not over is run: at once, and for every later attempt.

        `changes`, as a definition writes them: `priority`, `lane`, `timeout`, `retry` (the fields
        that are different), `deadline` (from now on); None takes a timeout or a deadline back.
        Raises `InvalidRequest` with every fault.
        """
        return await self._signal("adjust", run_id, task, signal_id, sender, changes=dict(changes))

    async def message(
        self,
        run_id: str,
        body: Any,
        *,
        task: str | None = None,
        mode: Literal["steer", "followup", "coalesce", "reject"] = "steer",
        quiet_s: float | None = None,
        deadline_s: float | None = None,
        signal_id: str | None = None,
        sender: str = "",
        wait: Level = "accepted",
        timeout_s: float | None = None,
    ) -> Signalled:
        """Say something to the agent of a task; `mode` says when it gets it.

        `quiet_s`: the window of `coalesce`. After `deadline_s` a message that nobody took expires.
        """
        return await self._signal(
            "message",
            run_id,
            task,
            signal_id,
            sender,
            body=body,
            mode=mode,
            quiet_s=quiet_s,
            deadline_s=deadline_s,
            wait=wait,
            timeout_s=timeout_s,
        )

    async def send_signal(
        self,
        run_id: str,
        name: str,
        body: Any = None,
        *,
        deadline_s: float | None = None,
        signal_id: str | None = None,
        sender: str = "",
        wait: Level = "accepted",
        timeout_s: float | None = None,
    ) -> Signalled:
        """Send a run a signal by its name: `body` is the result of the task that waits for it.

        One that comes before a task waits is kept, in order; each goes to one task. `task` of the
        answer says to which, once that is known (`wait="offered"`). After `deadline_s` one that no
        task was given expires.
        """
        signal_id = signal_id if signal_id is not None else new_id("sig", time.time_ns())
        params = {
            "run_id": run_id, "name": name, "signal_id": signal_id, "body": body, "sender": sender,
            "deadline_s": deadline_s, "wait": wait, "timeout_s": timeout_s,
        }  # fmt: skip
        return Signalled(**await self._ask_signal("signal.send", params))

    async def withdraw(
        self, run_id: str, signal_id: str, *, task: str | None = None, reason: str = ""
    ) -> None:
        """Take a message back that no handler took yet, or a signal that no task was given."""
        params = {"run_id": run_id, "task": task, "signal_id": signal_id, "reason": reason}
        await self._ask_signal("signal.withdraw", params)

    async def signal_state(
        self,
        run_id: str,
        signal_id: str,
        *,
        task: str | None = None,
        wait: Level = "accepted",
        timeout_s: float | None = None,
    ) -> Signalled:
        """Return what became of a signal; with `wait`, once it has come so far."""
        params = {
            "run_id": run_id, "task": task, "signal_id": signal_id, "wait": wait,
            "timeout_s": timeout_s,
        }  # fmt: skip
        return Signalled(**await self._ask_signal("signal.state", params))

    async def interrupt(
        self,
        run_id: str,
        task: str | None = None,
        *,
        reason: str = "",
        graceful: bool = True,
        timeout_s: float | None = None,
        signal_id: str | None = None,
        sender: str = "",
        wait_s: float | None = None,
        if_version: int | None = None,
    ) -> str:
        """Stop a task, or (without `task`) a run with all its tasks, keeping what they saved.

        What runs is asked to stop, has `timeout_s` for it (None: as the settings say), and is made
        to stop then; at once without `graceful`. A task that has not begun is cancelled. Returns
        the state of what was interrupted; with `wait_s` once the task (or each of the run, and of
        the runs below it) has stopped, or that time is over. `resume` lets it go on.
        """
        given = {
            "reason": reason, "graceful": graceful, "timeout_s": timeout_s, "wait_s": wait_s,
            "if_version": if_version,
        }  # fmt: skip
        return await self._hold("interrupt", run_id, task, signal_id, sender, **given)

    async def pause(
        self,
        run_id: str,
        task: str | None = None,
        *,
        reason: str = "",
        signal_id: str | None = None,
        sender: str = "",
        if_version: int | None = None,
    ) -> str:
        """Let nothing of a task, or of a run, start until it is resumed; what runs goes on."""
        given = {"reason": reason, "if_version": if_version}
        return await self._hold("pause", run_id, task, signal_id, sender, **given)

    async def resume(
        self,
        run_id: str,
        task: str | None = None,
        *,
        signal_id: str | None = None,
        sender: str = "",
        if_version: int | None = None,
    ) -> str:
        """Let a task, or a run, go on that was interrupted or paused.

        An interrupted one begins another attempt, with `ctx.resumed_state`.
        """
        return await self._hold("resume", run_id, task, signal_id, sender, if_version=if_version)

    async def _hold(
        self,
        kind: str,
        run_id: str,
        task: str | None,
        signal_id: str | None,
        sender: str,
        **more: Any,
    ) -> str:
        signal_id = signal_id if signal_id is not None else new_id("sig", time.time_ns())
        given = {name: value for name, value in more.items() if value is not None}
        params = {
            "run_id": run_id, "task": task, "signal_id": signal_id, "sender": sender, **given,
        }  # fmt: skip
        answer = await self._ask_signal("signal." + kind, params)
        return str(answer["state"])

    async def _signal(
        self,
        kind: str,
        run_id: str,
        task: str | None,
        signal_id: str | None,
        sender: str,
        **more: Any,
    ) -> Signalled:
        # chosen here, so that it can be asked twice
        signal_id = signal_id if signal_id is not None else new_id("sig", time.time_ns())
        given = {name: value for name, value in more.items() if value is not None or name == "body"}
        params = {
            "run_id": run_id, "task": task, "signal_id": signal_id, "sender": sender, **given,
        }  # fmt: skip
        return Signalled(**await self._ask_signal("signal." + kind, params))
