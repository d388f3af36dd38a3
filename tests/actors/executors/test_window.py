"""How much output may be under way: of an attempt, and of all of them together."""

from __future__ import annotations

import asyncio
import threading

import pytest

from goclaw_actors.executors.errors import Cancelled, OutputFull
from goclaw_actors.executors.window import OUTPUT_BYTES_MAX, UNWRITTEN_BYTES_MAX, Room, Window

WAIT_S = 30.0
CHUNK = 60_000


async def test_one_that_awaits_stays_below_its_limit() -> None:
    """It goes on as soon as what it emitted is written."""
    window = Window()
    while not window.is_full:
        window.take(CHUNK)
    waiting = asyncio.ensure_future(_room(window))
    await asyncio.sleep(0)
    assert not waiting.done()
    window.give(2 * CHUNK)
    async with asyncio.timeout(WAIT_S):
        await waiting
    window.take(2 * UNWRITTEN_BYTES_MAX)
    with pytest.raises(OutputFull):
        window.take(CHUNK)


async def test_in_a_crowd_each_waits_for_its_last_chunk() -> None:
    """One that has nothing under way goes on, so that nobody waits for ever."""
    crowded = True
    windows = [Window(lambda: crowded) for _ in range(3)]
    for window in windows:
        assert not window.is_full
        window.take(1)
        assert window.is_full
    waiting = asyncio.gather(*(_room(window) for window in windows))
    await asyncio.sleep(0)
    assert not waiting.done()
    for window in windows:
        window.give(1)
    async with asyncio.timeout(WAIT_S):
        await waiting
    crowded = False
    windows[0].take(1)
    assert not windows[0].is_full


def test_a_thread_waits_too_until_it_is_stopped() -> None:
    """And is told that it is to stop."""
    window, stopped = Window(lambda: True), threading.Event()
    window.take(1)
    caught: list[BaseException] = []

    def emit() -> None:
        try:
            window.wait(stopped.is_set)
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=emit)
    thread.start()
    stopped.set()
    thread.join(WAIT_S)
    assert len(caught) == 1


def test_an_attempt_emits_no_more_than_it_may() -> None:
    """Whatever was written of it."""
    window = Window()
    window.take(OUTPUT_BYTES_MAX)
    window.give(OUTPUT_BYTES_MAX)
    with pytest.raises(OutputFull, match="at most"):
        window.take(1)


async def _room(window: Window) -> None:
    await Room(window)
