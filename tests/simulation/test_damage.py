"""A verification survives any damage, and reports it."""

from __future__ import annotations

import random

import pytest

from goclaw_events.frame import HEADER, decode_frame
from goclaw_events.tables import Row
from goclaw_events.verify import verify
from tests.simulation.damage import DamagedRows
from tests.simulation.disk import SimDisk
from tests.simulation.options import Options
from tests.simulation.run import simulate

FRAMES = 4


@pytest.mark.parametrize("seed", [1, 2])
def test_verify_reports_a_flipped_bit_in_any_byte_of_a_frame(seed: int) -> None:
    """Whatever the damaged bytes decode to, nothing is raised and nothing is called whole."""
    world = simulate(seed, Options(partitions=2, batch_messages_max=2, runs=1, steps=40))
    rng = random.Random(seed)
    rows = world.journal._rows
    frames = sorted(rows._tables["log"].items(), key=lambda row: -_variety(row[1]))[:FRAMES]
    flips = 0
    for key, data in frames:
        damaged = DamagedRows(rows, "log", key, seen=False)
        disk = SimDisk(2, world.journal.log_id, None, damaged)
        for at in range(HEADER.size, len(data)):
            flipped = bytearray(data)
            flipped[at] ^= 1 << rng.randrange(8)
            damaged.write([Row("log", key, bytes(flipped))])
            assert not verify(disk).whole, f"byte {at} of the frame at {key.hex()}"
            flips += 1
    assert flips > 300


def _variety(data: bytes) -> int:
    """Return how many parts of a frame are not empty."""
    return sum(bool(part) for part in decode_frame(data).body)
