"""Wait until a signal has come so far."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from goclaw.errors import TimedOut
from goclaw.following import follow_log
from goclaw_events.codec import FACTS
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.parts import Parts
    from goclaw.signals import Signalled, Telling


async def told_at(engine: Engine, story: Telling, level: str, timeout_s: float | None) -> Signalled:
    """Return what became of a signal once it has reached a level, or will not.

    Raises `TimedOut`, and `SignalNotFound` where no fact tells of it.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _reached(engine, story, level)
    except TimeoutError:
        msg = f"signal {story.sent.signal} was not {level} within {timeout_s} s"
        raise TimedOut(msg, hint="it is there all the same: goclaw signal state") from None


async def _reached(engine: Engine, story: Telling, level: str) -> Signalled:
    parts = engine.parts
    end = parts.tail.end()
    # the end of the log first: what comes between is told twice, and not missed
    await asyncio.to_thread(_tell, story, parts)
    if not story.state:
        raise story.not_found()
    coming = follow_log(parts.tail, engine.bridge, end, run_id=story.sent.run_id, at_once=64)
    async with aclosing(coming) as found:
        while not (now := story.now()).has_reached(level):
            items, _ = await anext(found)
            story.tell(item.fact for item in items if story.hears(item.stream))
        return now


def _tell(story: Telling, parts: Parts) -> None:
    for stream in story.streams():
        for turn in stream_turns(parts.journal, stream):
            story.tell(FACTS.decode(fact.type, fact.version, fact.data) for fact in turn.facts)
