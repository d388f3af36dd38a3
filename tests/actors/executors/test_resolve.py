"""References in parameters: replaced wherever they stand, in a copy of the agent's own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_actors.executors import resolve
from goclaw_actors.executors.resolve import HasReferences, plain_copy, resolved
from goclaw_events.errors import ValueTooLarge
from goclaw_events.value import BlobRef, blob_of, pack, unpack


class Blobs:
    """A store of blobs that counts its reads."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.reads = 0

    def keep(self, value: Any, *path: str | int) -> BlobRef:
        """Keep a value, return a reference to a place in it."""
        data = pack(value)
        ref = blob_of(data)
        self.kept[ref.sha256] = data
        return BlobRef(ref.sha256, ref.size, path)

    def load(self, ref: BlobRef) -> Any:
        """Read the whole value."""
        self.reads += 1
        return unpack(self.kept[ref.sha256])


def test_a_value_without_references_is_copied_and_nothing_is_read() -> None:
    """The agent may change what it got; the engine's value stays."""
    blobs, value = Blobs(), {"a": [1, {"b": 2}]}
    copy = resolved(value, blobs.load)
    copy["a"][1]["b"] = 3
    assert value == {"a": [1, {"b": 2}]}
    assert blobs.reads == 0
    with pytest.raises(HasReferences):
        plain_copy({"a": [blobs.keep(1)]})


def test_references_are_replaced_wherever_they_stand() -> None:
    """At the top, in lists and dicts, with paths, and references to references."""
    blobs = Blobs()
    inner = blobs.keep({"deep": [10, 20]})
    outer = blobs.keep({"x": inner, "y": 1})
    assert resolved(outer, blobs.load) == {"x": {"deep": [10, 20]}, "y": 1}
    value = {"whole": inner, "part": [blobs.keep({"k": ["v"]}, "k", 0)], "n": None}
    assert resolved(value, blobs.load) == {"whole": {"deep": [10, 20]}, "part": ["v"], "n": None}
    through = BlobRef(outer.sha256, outer.size, ("x", "deep", 1))
    assert resolved([through], blobs.load) == [20]
    assert resolved([blobs.keep([1], "absent")], blobs.load) == [None]


def test_what_is_loaded_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small value that refers to a large one often is refused before memory is full."""
    blobs = Blobs()
    ref = blobs.keep(b"x" * 400)
    monkeypatch.setattr(resolve, "RESOLVED_BYTES_MAX", 1_000)
    with pytest.raises(ValueTooLarge):
        resolved([ref] * 100, blobs.load)
    assert blobs.reads == 2


def test_a_very_deep_value_is_resolved() -> None:
    """Depth costs no stack: whatever can be stored can be resolved."""
    blobs = Blobs()
    value: Any = blobs.keep("bottom")
    for _ in range(400):
        value = [value]
    out = resolved(value, blobs.load)
    for _ in range(400):
        out = out[0]
    assert out == "bottom"


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(plain, st.data())
def test_hiding_parts_in_blobs_changes_nothing(value: Any, data: st.DataObject) -> None:
    """Whatever parts are kept by reference, the resolved value is the original one."""
    blobs = Blobs()

    def hide(item: Any) -> Any:
        if isinstance(item, list):
            item = [hide(i) for i in item]
        elif isinstance(item, dict):
            item = {k: hide(i) for k, i in item.items()}
        return blobs.keep(item) if data.draw(st.booleans()) else item

    assert resolved(hide(value), blobs.load) == value
