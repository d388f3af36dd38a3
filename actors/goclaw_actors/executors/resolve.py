"""Values as agents receive them: private copies, with every reference replaced by its value."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, TypeAlias

import msgpack

from goclaw_events.errors import ValueTooLarge
from goclaw_events.value import BlobRef, CollectedRef, SecretText, follow, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.value import Value

    Load: TypeAlias = Callable[[BlobRef], Value]
    """Read the whole value kept under a reference's hash (its path is not looked at).

    May block on the disk. The value belongs to the caller: a fresh one at every call.
    """

    Reveal: TypeAlias = Callable[[SecretText], str]
    """Return a text with its secrets in it. May block; raises `SecretMissing`."""

    Gather: TypeAlias = Callable[[CollectedRef], Value]
    """Return what was collected, which may hold references. May block; raises `CollectUnmet`."""

RESOLVED_BYTES_MAX: Final = 256 * 1024 * 1024


class HasReferences(Exception):
    """A value cannot be copied as it is: a reference, or a secret, stands somewhere in it."""


def plain_copy(value: Value) -> Value:
    """Return a copy that an agent may change without touching the engine's state. Does not block.

    Raises `HasReferences`; then it takes `resolved`.
    """
    # in C, and as deep as a value can be stored
    return msgpack.unpackb(plain_bytes(value), strict_map_key=False)


def plain_bytes(value: Value) -> bytes:
    """Return a value as msgpack; raises `HasReferences`, as `plain_copy` does."""
    return bytes(msgpack.packb(value, default=_refuse))


def _refuse(_: object) -> object:
    raise HasReferences


def resolved(
    value: Value, load: Load, reveal: Reveal | None = None, gather: Gather | None = None
) -> Value:
    """Return a private copy in which every reference, however deep, is replaced by its value.

    Texts with secrets become what `reveal` makes of them, and what was collected what `gather`
    finds; without these they stay. Blocks on the disk. Raises `ValueTooLarge` once more than
    256 MiB were loaded, and what the three raise.
    """
    with contextlib.suppress(HasReferences):
        return plain_copy(value)
    top = [unpack(pack(value))]
    fetch = _Fetch(load, reveal, gather)
    waiting: list[list[Value] | dict[str, Value]] = [top]
    while waiting:
        box = waiting.pop()
        for key in range(len(box)) if isinstance(box, list) else box:
            item = box[key] = fetch.whole(box[key])  # type: ignore[index]  # the key is the box's
            if isinstance(item, (list, dict)):
                waiting.append(item)
    return top[0]


class _Fetch:
    """Load references and count what was loaded: small values may refer to large ones often."""

    __slots__ = ("_gather", "_left", "_load", "_reveal")

    def __init__(self, load: Load, reveal: Reveal | None, gather: Gather | None) -> None:
        self._load = load
        self._reveal = reveal
        self._gather = gather
        self._left = RESOLVED_BYTES_MAX

    def whole(self, value: Value) -> Value:
        while isinstance(value, BlobRef):  # what a reference names may be a reference again
            value = self._fetch(value)
        if self._reveal is not None and isinstance(value, SecretText):
            return self._reveal(value)
        if self._gather is not None and isinstance(value, CollectedRef):
            return self._gather(value)
        return value

    def _fetch(self, ref: BlobRef) -> Value:
        self._left -= ref.size
        if self._left < 0:
            raise ValueTooLarge(
                f"the parameters refer to more than {RESOLVED_BYTES_MAX} bytes",
                hint="hand over the parts that are needed, or names of files",
                bytes=RESOLVED_BYTES_MAX - self._left,
            )
        value = self._load(ref)
        for step in ref.path:
            value = follow(self.whole(value), (step,))
        return value
