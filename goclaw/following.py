"""Follow a log from an asyncio loop: parts of facts, each with the cursor behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from goclaw.errors import EngineClosed
from goclaw_events.ids import task_stream, workflow_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from goclaw.bridge import Bridge
    from goclaw_events.envelope import Cursor
    from goclaw_projections.subscription import Recorded, Tail


async def follow_log(
    tail: Tail,
    bridge: Bridge | None,
    after: Cursor | Mapping[int, int] | None,
    *,
    run_id: str | None = None,
    stream: str | None = None,
    at_once: int,
) -> AsyncGenerator[tuple[list[Recorded], Cursor], None]:
    """Yield at most `at_once` durable facts behind `after`, with the cursor, then what comes.

    `run_id` keeps only the facts of that run and its tasks, `stream` those of that one. Without a
    `bridge` it ends where the log ends, otherwise when the engine stops. A slow reader lags
    behind, it loses nothing. Raises `EngineClosed` if the log is closed before its end was reached.
    """
    ready = asyncio.Event()
    subscription = tail.subscribe(
        after,
        keep=_of(run_id, stream),
        on_ready=None if bridge is None else lambda: bridge.post(ready.set),
    )
    try:
        while not subscription.closed:
            found = await asyncio.to_thread(subscription.poll, at_once)
            if found:
                yield found, subscription.cursor
            elif bridge is None:
                return
            else:
                await ready.wait()
                ready.clear()
        if bridge is None:
            msg = "the engine was stopped before the end of its log was reached"
            raise EngineClosed(msg, hint="go on from the last cursor")
    finally:
        subscription.close()


def _of(run_id: str | None, stream: str | None) -> Callable[[str], bool] | None:
    """Return what accepts the streams that are wanted; None: all are."""
    if stream is not None:
        return stream.__eq__
    return None if run_id is None else _of_run(run_id)


def _of_run(run_id: str) -> Callable[[str], bool]:
    """Return what accepts the streams of a run and of its tasks."""
    own, tasks = workflow_stream(run_id), task_stream(run_id, "")
    return lambda stream: stream == own or stream.startswith(tasks)
