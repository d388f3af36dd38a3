"""A run that a bug ended without a word of its own: it has failed, and holds nothing back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw.results import CommandRefused, RunFailure
from goclaw_actors.directory import deciders
from goclaw_actors.messages import FailRun, TaskReported
from goclaw_events.errors import HistoryExpired
from tests.goclaw.test_archive import archive, check, engine_on, sums, view_rows
from tests.goclaw.test_expiry import expire, forget_views

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_actors.contents import StoredContents

BUG = RunFailure("internal_bug", "RuntimeError: a bug", "")


def broken(contents: StoredContents) -> dict[str, Any]:
    """Return deciders of which that of runs cannot hear of tasks, nor fail."""
    kinds = dict(deciders(contents))
    sound = kinds["workflow"]

    def decide(state: Any, message: Any, moment: Any) -> Any:
        if type(message) in (TaskReported, FailRun):
            msg = "a bug"
            raise RuntimeError(msg)
        return sound.decide(state, message, moment)

    kinds["workflow"] = replace(sound, decide=decide)
    return kinds


@pytest.mark.parametrize("partitions", [1, 3])
async def test_it_has_failed_is_archived_and_given_up(tmp_path: Path, partitions: int) -> None:
    """At once, after a restart, archived, and in the baseline; its history goes like any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("goclaw.parts.deciders", broken)
        async with engine_on(tmp_path, partitions) as engine:
            result = await engine.run(sums(), run_id="bad", timeout_s=30)
            assert (result.status, result.error) == ("failed", BUG)
    for step in (lambda: None, lambda: archive(tmp_path)):
        step()
        async with engine_on(tmp_path, partitions) as engine:
            again = await engine.result("bad", timeout_s=30)
            assert (again.status, again.error) == ("failed", BUG)
        check(tmp_path)
    archive(tmp_path)
    before = view_rows(tmp_path)
    plans = expire(tmp_path)
    assert "bad" in [run for plan in plans for run in plan.runs]
    forget_views(tmp_path)
    check(tmp_path)
    assert view_rows(tmp_path) == before
    async with engine_on(tmp_path, partitions) as engine:
        with pytest.raises(HistoryExpired) as gone:
            await engine.result("bad", timeout_s=30)
        assert gone.value.details["status"] == "failed"
        with pytest.raises(CommandRefused):
            await engine.cancel("bad")
