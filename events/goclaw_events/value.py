"""Values: what users' data becomes in the log, inline or by reference to a blob."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgpack

from goclaw_events.errors import LogDamaged, ValueNotStorable, ValueTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INLINE_BYTES_MAX: Final = 64 * 1024
BLOB_ROW_BYTES_MAX: Final = 1024 * 1024
VALUE_BYTES_MAX: Final = 64 * 1024 * 1024
EXT_BLOB: Final = 1
EXT_SECRET: Final = 2
EXT_COLLECTED: Final = 3
_EXT_BYTES_MIN: Final = 40
EXTS_MAX: Final = 256

Value: TypeAlias = Any
"""None, bool, int of 64 bits, float, str, bytes, list, dict with string keys, or a `BlobRef`.

The parameters of a task may hold a `SecretText` or a `CollectedRef` as well.
"""


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Stand for a value kept under its hash; `path` names a place inside it (empty: the whole)."""

    sha256: bytes
    size: int
    path: tuple[str | int, ...] = ()

    @property
    def hex(self) -> str:
        """Return the hash as people and file names write it."""
        return self.sha256.hex()


@dataclass(frozen=True, slots=True)
class SecretText:
    """Stand for a text with secrets in it, which is only whole where the task runs.

    `parts` are literal texts and names of secrets in turn; the first and the last are literal.
    """

    parts: tuple[str, ...]

    def __str__(self) -> str:
        """Return the text as a definition writes it."""
        literals, names = self.parts[::2], self.parts[1::2]
        named = [f"${{secret.{name}}}" for name in names]
        return "".join(text for pair in zip(literals, [*named, ""], strict=True) for text in pair)


@dataclass(frozen=True, slots=True)
class CollectedRef:
    """Stand for what a collector came to, which is read where the task runs.

    `unmet` and `partial`: whether what ended so is given to the task too, or fails it.
    """

    collector: str
    unmet: bool
    partial: bool


def _default(value: object) -> object:
    if type(value) is BlobRef:  # the first fact of each task has one
        return _ext_of(value.sha256, value.size, value.path)
    if isinstance(value, SecretText):
        return msgpack.ExtType(EXT_SECRET, msgpack.packb(value.parts))
    if isinstance(value, CollectedRef):
        fields = (value.collector, value.unmet, value.partial)
        return msgpack.ExtType(EXT_COLLECTED, msgpack.packb(fields))
    return _default_of_users(value)


def _default_of_users(value: object) -> object:
    """Take what may stand in a value from outside: the name of a secret may not."""
    if isinstance(value, BlobRef):
        return _ext_of(value.sha256, value.size, value.path)
    msg = f"a value of type {type(value).__name__} cannot be stored"
    raise ValueNotStorable(
        msg,
        hint="use None, bool, int, float, str, bytes, list or dict with string keys",
        type=type(value).__name__,
    )


@lru_cache(maxsize=EXTS_MAX)
def _ext_of(sha256: bytes, size: int, path: tuple[str | int, ...]) -> msgpack.ExtType:
    """Return a reference as it is packed: that to a definition stands in each task's first fact."""
    data = sha256 + size.to_bytes(8, "big")
    if path:
        data += msgpack.packb(path)
    return msgpack.ExtType(EXT_BLOB, data)


def _ext_hook(code: int, data: bytes) -> BlobRef | SecretText | CollectedRef:
    if code == EXT_SECRET:
        return SecretText(tuple(msgpack.unpackb(data)))
    if code == EXT_COLLECTED:
        return CollectedRef(*msgpack.unpackb(data))
    if code != EXT_BLOB or len(data) < _EXT_BYTES_MIN:
        msg = f"unknown msgpack extension {code} of {len(data)} bytes"
        raise LogDamaged(msg)
    path = tuple(msgpack.unpackb(data[40:])) if len(data) > _EXT_BYTES_MIN else ()
    return BlobRef(data[:32], int.from_bytes(data[32:40], "big"), path)


def _ext_hook_of_users(code: int, data: bytes) -> BlobRef | SecretText | CollectedRef:
    if code == EXT_SECRET:
        msg = "a value cannot name a secret"
        raise ValueNotStorable(msg, hint="write ${secret.NAME} in the definition of the task")
    if code == EXT_COLLECTED:
        msg = "a value cannot name a collector"
        raise ValueNotStorable(msg, hint="write `collect:` in the definition of the task")
    return _ext_hook(code, data)


def packer() -> Callable[[object], bytes]:
    """Return a packing function for the use of one thread (a packer keeps a buffer)."""
    pack_one: Callable[[object], bytes] = msgpack.Packer(default=_default, autoreset=True).pack
    return pack_one


def pack(value: object) -> bytes:
    """Write a value as msgpack; a tuple of facts and a `BlobRef` are understood.

    Raises `ValueNotStorable` naming the type, or why (depth, integer over 64 bits, surrogates).
    """
    return _pack(value, _default)


def _pack(value: object, default: Callable[[object], object]) -> bytes:
    try:
        return bytes(msgpack.packb(value, default=default))
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"a value cannot be stored: {error}"
        raise ValueNotStorable(msg, hint="return plain data, at most 500 levels deep") from error


def unpack(data: bytes) -> Value:
    """Read what `pack` wrote; raises `LogDamaged` on anything else."""
    try:
        return msgpack.unpackb(data, ext_hook=_ext_hook, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        msg = f"not msgpack: {error}"
        raise LogDamaged(msg) from error


def blob_of(data: bytes) -> BlobRef:
    """Name packed bytes by their hash; raises `ValueTooLarge` over 64 MiB."""
    if len(data) > VALUE_BYTES_MAX:
        msg = f"a value of {len(data)} bytes exceeds the limit of {VALUE_BYTES_MAX} bytes"
        raise ValueTooLarge(
            msg, hint="keep it in a file or an object store and return its name", bytes=len(data)
        )
    return BlobRef(hashlib.sha256(data).digest(), len(data))


def store(value: object, blobs: dict[bytes, bytes]) -> Value:
    """Turn what a user handed over into what the log keeps: a private, normal copy.

    Tuples become lists; over 64 KiB the packed bytes go to `blobs` and a `BlobRef` is returned.
    Raises `ValueNotStorable`, `ValueTooLarge`.
    """
    if value is None or value is True or value is False:
        return value
    data = _pack(value, _default_of_users)
    copy = _unpack_strict(data)
    if len(data) > INLINE_BYTES_MAX:
        ref = blob_of(data)
        blobs[ref.sha256] = data
        return ref
    return copy


def _unpack_strict(data: bytes) -> Value:
    try:
        return msgpack.unpackb(data, ext_hook=_ext_hook_of_users)
    except ValueError as error:
        msg = f"a value cannot be stored: {error}"
        raise ValueNotStorable(msg, hint="use strings as the keys of a dict") from error


def references(value: Value) -> Iterator[BlobRef]:
    """Yield every reference inside a value, without knowing its schema."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, BlobRef):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)


def follow(value: Value, path: tuple[str | int, ...]) -> Value:
    """Return the place that `path` names inside a value; None where there is none."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step if isinstance(step, str) else str(step))
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value
