"""Frames kept: actors that were written together are activated together."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors import recent
from goclaw_actors.ports import Limits
from goclaw_actors.recent import FRAMES_MAX, KEPT_PER_STREAM, RecentFrames
from goclaw_events.errors import LogDamaged
from goclaw_events.frame import decode_frame
from goclaw_events.replay import turns_of
from goclaw_events.turn_index import TurnIndex
from tests.actors.stage import LANES, MANY, Stage


def frames() -> list[bytes]:
    """Return the frames of some runs."""
    stage = Stage(limits=Limits(batch_messages_max=5))
    for run_id in ("r", "s"):
        stage.submit(MANY, run_id, **LANES)
        stage.finish()
    return list(stage.journal.frames(0))


def test_turns_are_those_of_the_frame() -> None:
    """Whether a frame is kept or not, a stream's turns in it are the same."""
    kept = RecentFrames()
    for data in frames():
        frame = decode_frame(data)
        for stream in {fact.stream for _, _, fact in frame.facts()} | {"task/x/none"}:
            expected = list(turns_of(frame, stream))
            for at in (0, KEPT_PER_STREAM):
                found = list(kept.turns(data, stream, at))
                assert [turn._replace(size=0) for turn in found] == expected
    assert len(kept._frames) == FRAMES_MAX


def test_a_damaged_frame_is_refused() -> None:
    """Its hash is compared before anything of it is used."""
    data = bytearray(frames()[1])
    data[len(data) // 2] ^= 1
    with pytest.raises(LogDamaged):
        RecentFrames().turns(bytes(data), "workflow/r", 0)


def test_actors_that_come_back_share_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one live actor, most frames that are read were looked through before."""
    looked_through: list[int] = []

    def counted(data: bytes) -> Any:
        looked_through.append(len(data))
        return TurnIndex(data)

    monkeypatch.setattr(recent, "TurnIndex", counted)
    counts = []
    for kept in (FRAMES_MAX, 0):
        monkeypatch.setattr(recent, "FRAMES_MAX", kept)
        looked_through.clear()
        stage = Stage(limits=Limits(live_actors_max=1))
        stage.submit({f"t{n}": {"agent": "x", "lane": "io"} for n in range(60)}, **LANES)
        stage.finish()
        assert stage.ended["r"][0] == "completed"
        counts.append(len(looked_through))
    assert 0 < counts[0] < counts[1] / 2
