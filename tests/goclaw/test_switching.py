"""An engine lets the threads of its process take turns often."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import goclaw
from goclaw.switching import SWITCH_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize(("before", "after"), [(0.005, SWITCH_EVERY_S), (0.0001, 0.0001)])
async def test_who_waits_gets_the_interpreter_soon(
    tmp_path: Path, before: float, after: float
) -> None:
    """The interval is lowered; one that is lower stays."""
    sys.setswitchinterval(before)
    async with goclaw.Engine(tmp_path / "d"):
        assert sys.getswitchinterval() == pytest.approx(after)
