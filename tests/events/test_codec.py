"""The codec: stable names, versions, and upcasters between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events import facts
from goclaw_events.codec import FACTS, Codec
from goclaw_events.errors import UnknownType
from goclaw_events.value import BlobRef, pack, unpack

PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=8),
        st.binary(max_size=8),
        st.builds(BlobRef, st.binary(min_size=32, max_size=32), st.integers(0, 2**40)),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
CLASSES: list[Any] = sorted(FACTS.names, key=lambda cls: cls.__name__)


class Renamed(NamedTuple):
    """A fact whose third version has two fields."""

    size: int
    unit: str


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_a_fact_comes_back_from_the_log(cls: Any, data: st.DataObject) -> None:
    """Every fact, packed as it stands and read by name and version, is the same fact."""
    fact = cls(*[data.draw(PLAIN) for _ in cls._fields])
    name, version = FACTS.names[cls]
    assert FACTS.decode(name, version, unpack(pack(fact))) == fact


def test_every_fact_has_a_name() -> None:
    """Each fact class that the package exports is registered, under a name of its family."""
    named = (name for name in facts.__all__ if not name.endswith("Fact"))
    exported = {getattr(facts, name) for name in named if not name.isupper()}
    assert exported == set(FACTS.names)
    families = {name.partition(".")[0] for name, _ in FACTS.names.values()}
    known = {"definition", "run", "saga", "task", "lane", "unique", "collector", "schedule"}
    known |= {"partition"}
    assert families == known


def test_old_versions_are_raised() -> None:
    """Upcasters run one after another, from the version read to the version that is written."""
    codec = Codec()
    codec.register(Renamed, "test.renamed", version=3)
    codec.upcast("test.renamed", 1, lambda data: [int(data[0])])
    codec.upcast("test.renamed", 2, lambda data: [data[0], "bytes"])
    assert codec.decode("test.renamed", 1, ["7"]) == Renamed(7, "bytes")
    assert codec.decode("test.renamed", 2, [7]) == Renamed(7, "bytes")
    assert codec.decode("test.renamed", 3, [7, "KiB"]) == Renamed(7, "KiB")


@pytest.mark.parametrize(
    ("name", "version", "data"),
    [
        ("test.unheard", 1, []),
        ("test.renamed", 4, [1, "a"]),
        ("test.renamed", 1, [1]),
        ("test.renamed", 3, [1]),
        ("test.renamed", 3, [1, "a", "b"]),
    ],
)
def test_what_cannot_be_read_is_named(name: str, version: int, data: list[Any]) -> None:
    """An unknown name, a version without upcasters, and other fields raise `UnknownType`."""
    codec = Codec()
    codec.register(Renamed, "test.renamed", version=3)
    with pytest.raises(UnknownType):
        codec.decode(name, version, data)


def test_a_name_is_given_once() -> None:
    """Neither a name nor a class can be registered twice."""
    codec = Codec()
    codec.register(Renamed, "test.renamed")
    with pytest.raises(ValueError, match="registered already"):
        codec.register(Renamed, "test.again")
    with pytest.raises(ValueError, match="registered already"):
        codec.register(BlobRef, "test.renamed")
