"""The map that is written away piece by piece."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from goclaw_actors.chunked import Chunked

BITS = 2
KEYS = st.integers(min_value=-20, max_value=20)


class ChunkedIsADict(RuleBasedStateMachine):
    """Against plain dictionaries: the map, what it was when frozen, and what was written away."""

    def __init__(self) -> None:
        super().__init__()
        self.map: Chunked[int] = Chunked(BITS)
        self.model: dict[int, int] = {}
        self.frozen: dict[int, int] | None = None
        self.written: dict[int, dict[int, int]] = {}

    @rule(key=KEYS, value=st.integers(0, 9))
    def put(self, key: int, value: int) -> None:
        """Set a key, frozen or not."""
        self.map.put(key, value)
        self.model[key] = value

    @rule(at=st.integers(0, 40))
    def remove(self, at: int) -> None:
        """Take out a key that is there."""
        if self.model:
            key = sorted(self.model)[at % len(self.model)]
            self.map.remove(key)
            del self.model[key]

    @rule()
    def freeze(self) -> None:
        """Begin a snapshot; what one that was not finished wrote is kept."""
        changed = self.map.freeze()
        self.frozen = dict(self.model)
        assert changed == sorted(changed)

    @rule()
    def take(self) -> None:
        """Write a frozen chunk away, whatever became of it meanwhile."""
        found = self.map.take()
        if found is not None:
            assert self.frozen is not None
            at, entries = found
            self.written[at] = dict(entries or {})

    @rule()
    def finish(self) -> None:
        """Write all: what was written is then the map as it was frozen."""
        while (found := self.map.take()) is not None:
            self.written[found[0]] = dict(found[1] or {})
        if self.frozen is not None:
            whole = {key: value for chunk in self.written.values() for key, value in chunk.items()}
            assert whole == self.frozen
            restored = Chunked(BITS, {at: dict(chunk) for at, chunk in self.written.items()})
            assert dict(restored.items()) == self.frozen
            assert restored.freeze() == []

    @invariant()
    def reads_are_those_of_a_dict(self) -> None:
        """Compare reading, which a snapshot in progress does not disturb."""
        assert dict(self.map.items()) == self.model
        assert len(self.map) == len(self.model)
        assert all(self.map.get(key) == self.model.get(key) for key in range(-21, 22, 7))


ChunkedIsADict.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChunked = ChunkedIsADict.TestCase


def test_an_empty_chunk_is_handed_out_as_none() -> None:
    """A chunk that emptied is named, so that its row can go."""
    chunked: Chunked[str] = Chunked(4)
    chunked.put(3, "a")
    chunked.put(17, "b")
    assert chunked.freeze() == [0, 1]
    assert (chunked.take(), chunked.take(), chunked.take()) == ((0, {3: "a"}), (1, {17: "b"}), None)
    chunked.remove(3)
    assert chunked.freeze() == [0]
    assert chunked.take() == (0, None)


def test_only_what_changed_is_handed_out() -> None:
    """A second snapshot writes the chunks that changed since the first, and no others."""
    chunked: Chunked[int] = Chunked(10)
    for key in range(5_000):
        chunked.put(key, key)
    assert len(chunked.freeze()) == 5
    chunked.put(4_999, 0)
    while chunked.take() is not None:
        pass
    assert chunked.freeze() == [4]
