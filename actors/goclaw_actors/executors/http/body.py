"""The body of an answer: read up to a limit, decoded within it, parsed by its type."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.errors import ResponseInvalid, ResponseTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENCODINGS: Final = "gzip, deflate"
"""What is asked for; anything else that comes back is not decoded but refused."""

_ZLIB_ANY: Final = 32 + zlib.MAX_WBITS
_TEXT_TYPES: Final = frozenset(
    ("application/xml", "application/javascript", "application/x-www-form-urlencoded",
     "application/yaml", "application/x-ndjson", "application/graphql")
)  # fmt: skip


async def read_body(parts: AsyncIterator[bytes], encoding: str, bytes_max: int) -> bytes:
    """Return the decoded body; never holds more than `bytes_max` of it.

    Raises `ResponseTooLarge`, and `ResponseInvalid` for an encoding that was not asked for or
    does not decode.
    """
    decoder = _Decoder(encoding, bytes_max)
    async for part in parts:
        decoder.feed(part)
    return decoder.end()


class _Decoder:
    """Gather parts, decompressed as they come and never beyond the limit."""

    def __init__(self, encoding: str, bytes_max: int) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            msg = f"the answer is encoded as {encoding[:80]!r}, which was not asked for"
            raise ResponseInvalid(msg, hint=f"known: {ENCODINGS}")
        self._zlib = zlib.decompressobj(_ZLIB_ANY) if name not in ("", "identity") else None
        self._raw_deflate = name == "deflate"
        self._bytes_max = bytes_max
        self._found = bytearray()

    def feed(self, part: bytes) -> None:
        if self._zlib is None:
            self._take(part)
            return
        while part:
            room = self._bytes_max - len(self._found) + 1
            try:
                self._take(self._zlib.decompress(part, room))
            except zlib.error as error:
                if not self._raw_deflate or self._found:
                    msg = f"the answer cannot be decompressed: {error}"
                    raise ResponseInvalid(msg) from error
                # RFC 9110 means zlib by "deflate"; some servers send it without that frame
                self._raw_deflate = False
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            part = self._zlib.unconsumed_tail

    def _take(self, data: bytes) -> None:
        self._found += data
        if len(self._found) > self._bytes_max:
            msg = f"the answer has more than {self._bytes_max} bytes"
            hint = "ask for less, or raise executors.http.response_bytes_max"
            raise ResponseTooLarge(msg, hint=hint, bytes_max=self._bytes_max)

    def end(self) -> bytes:
        if self._zlib is not None and self._found and not self._zlib.eof:
            msg = "the answer ends in the middle of its compressed body"
            raise ResponseInvalid(msg)
        return bytes(self._found)


def parsed(data: bytes, content_type: str) -> Any:
    """Return a body as the value that its type says: JSON parsed, text decoded, else bytes.

    None for an empty one. Raises `ResponseInvalid` for what says it is JSON and is not.
    """
    if not data:
        return None
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return _json(data)
    charset = _charset(parameters)
    if charset or kind.startswith("text/") or kind.endswith("+xml") or kind in _TEXT_TYPES:
        return _text(data, charset or "utf-8")
    if kind:
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def _text(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, "replace")
    except LookupError:  # nobody knows this charset
        return data.decode("utf-8", "replace")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        shown = data[:80].decode("utf-8", "replace")
        msg = f"the answer says it is JSON and is not: {error}: {shown!r}"
        raise ResponseInvalid(msg) from error


def _refuse(name: str) -> Any:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""
