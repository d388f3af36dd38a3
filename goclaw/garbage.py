"""How often Python looks for garbage: seldom, where a process holds very many actors or states."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECT_EVERY: Final = 200_000
"""Collect garbage after so many new containers. Python's default of 700 looks through tens of
thousands of live actors far too often: it doubled the cost of the projections (80 to 40 µs a
task), took a quarter of the engine's throughput, and half of a replay's; 50,000 still took a tenth
of the dispatcher's time."""


def collect_seldom() -> None:
    """Raise the process's garbage collection threshold to `COLLECT_EVERY` if it is lower."""
    young, middle, old = gc.get_threshold()
    if 0 < young < COLLECT_EVERY:
        gc.set_threshold(COLLECT_EVERY, middle, old)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Collect garbage as seldom as the engine does, for a while."""
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
