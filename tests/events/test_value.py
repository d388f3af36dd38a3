"""Values: what users hand over becomes a normal, private copy, or is refused by name."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events.errors import LogDamaged, ValueNotStorable, ValueTooLarge
from goclaw_events.value import (
    INLINE_BYTES_MAX,
    VALUE_BYTES_MAX,
    BlobRef,
    blob_of,
    follow,
    pack,
    references,
    store,
    unpack,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), TEXT, st.binary(max_size=8),
    st.floats(allow_nan=False),
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(TEXT, inner, max_size=4),
    ),
    max_leaves=10,
)


def normal(value: Any) -> Any:
    """Return a value as the log should keep it: tuples as lists."""
    if isinstance(value, (list, tuple)):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    return value


@given(VALUES)
def test_a_stored_value_is_normal(value: Any) -> None:
    """Tuples become lists, all else stays; storing twice changes nothing more."""
    blobs: dict[bytes, bytes] = {}
    kept = store(value, blobs)
    assert kept == normal(value)
    assert store(kept, blobs) == kept
    assert unpack(pack(kept)) == kept
    assert blobs == {}


def test_a_stored_value_is_a_copy() -> None:
    """What the user changes afterwards does not change what was stored."""
    mine = {"a": [1]}
    kept = store(mine, {})
    mine["a"].append(2)
    assert kept == {"a": [1]}


@pytest.mark.parametrize("excess", [0, 1])
def test_what_is_larger_than_64_kib_becomes_a_blob(excess: int) -> None:
    """The limit counts packed bytes; above it the value is kept under its hash."""
    value = "x" * (INLINE_BYTES_MAX - 3 + excess)
    blobs: dict[bytes, bytes] = {}
    kept = store(value, blobs)
    if not excess:
        assert (kept, blobs) == (value, {})
        return
    assert kept == BlobRef(hashlib.sha256(pack(value)).digest(), INLINE_BYTES_MAX + 1)
    assert blobs == {kept.sha256: pack(value)}


@pytest.mark.parametrize(
    "value",
    [object(), {1: "a"}, {("a",): 1}, {"a": {1, 2}}, 2**64, -(2**63) - 1, "\ud800", b"".join],
)
def test_what_cannot_be_stored_is_refused(value: Any) -> None:
    """Other types, other keys, larger integers and lone surrogates raise `ValueNotStorable`."""
    with pytest.raises(ValueNotStorable):
        store(value, {})


def test_a_value_that_is_too_deep_is_refused() -> None:
    """A nesting that msgpack does not write is refused, not a crash."""
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(ValueNotStorable):
        store(deep, {})


def test_a_value_that_is_too_large_is_refused() -> None:
    """Over 64 MiB nothing is stored."""
    with pytest.raises(ValueTooLarge):
        blob_of(bytes(VALUE_BYTES_MAX + 1))


@given(st.binary(max_size=40))
def test_bytes_that_are_no_value_are_damage(data: bytes) -> None:
    """`unpack` returns a value or raises `LogDamaged`, nothing else."""
    try:
        unpack(data)
    except LogDamaged:
        return


@given(st.lists(st.builds(BlobRef, st.binary(min_size=32, max_size=32), st.integers(0, 99))))
def test_references_are_found_without_a_schema(refs: list[BlobRef]) -> None:
    """Every reference in a value is found, wherever it stands."""
    value = {"a": [refs[:1], {"b": refs[1:]}], "c": "text"}
    assert sorted(ref.sha256 for ref in references(value)) == sorted(ref.sha256 for ref in refs)


def test_follow_a_path() -> None:
    """A path leads into dicts and lists; where there is nothing the value is None."""
    value = {"a": [{"b": 1}, {"b": 2}], "3": "three"}
    assert follow(value, ("a", 1, "b")) == 2
    assert follow(value, ("a", -1, "b")) == 2
    assert follow(value, (3,)) == "three"
    assert follow(value, ("a", 2)) is None
    assert follow(value, ("a", "b")) is None
    assert follow(value, ()) == value
