"""Ids and streams: what a stream is called."""

from __future__ import annotations

import pytest

from goclaw_events.ids import (
    called,
    lane_stream,
    saga_key,
    saga_stream,
    task_stream,
    workflow_stream,
)


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (task_stream("r", "a"), "task a of run r"),
        (task_stream("r", "a/b"), "task a/b of run r"),
        (task_stream(saga_key("trip"), "car"), "task car of saga trip"),
        (saga_stream("trip"), "saga trip"),
        (workflow_stream("r"), "run r"),
        (lane_stream("w/io"), "lane w/io"),
    ],
)
def test_a_stream_is_called_as_people_do(stream: str, name: str) -> None:
    """By what it is of, and not by its key."""
    assert called(stream) == name
