"""The bytes of a portable file: gzip over msgpack arrays, each beginning with its kind.

Memory does not grow with the file: a value is at most one blob. docs/reference/log-format.md
describes the file.
"""

from __future__ import annotations

import gzip
import zlib
from typing import IO, TYPE_CHECKING, Any, Final, Self

import msgpack

from goclaw_events.errors import ExportInvalid, LogDamaged
from goclaw_events.value import VALUE_BYTES_MAX, pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAGIC: Final = "goclaw-log"
FORMAT: Final = 2
"""With the output of tasks; a file without any is of format 1, which older versions read."""
RECORD_BYTES_MAX: Final = VALUE_BYTES_MAX + 1024 * 1024
_HINT_WHOLE: Final = "export the log again, or take another copy of the file"


class PortableWriter:
    """Write a portable file; the same values give the same bytes. Leaves `file` open."""

    def __init__(self, file: IO[bytes], head: Mapping[str, Any], fmt: int = FORMAT) -> None:
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        self.put(MAGIC, fmt, dict(head))

    def put(self, *record: Any) -> None:
        """Write one value."""
        self._gzip.write(pack(record))

    def close(self) -> None:
        """Write the end of the gzip stream."""
        self._gzip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_portable(file: IO[bytes]) -> Iterator[list[Any]]:
    """Yield the values of a portable file: first the head (a map alone), last the end.

    Raises `ExportInvalid` for a file of another kind or a newer format, `LogDamaged` for one that
    is cut off or changed.
    """
    with gzip.GzipFile(fileobj=file, mode="rb") as stream:
        records = _records(stream)
        yield [_head(next(records, None))]
        last: Any = None
        for last in records:
            if not isinstance(last, list) or not last:
                break
            yield last
    if not isinstance(last, list) or last[:1] != ["end"]:
        msg = "the export is cut off: it does not say how it ends"
        raise LogDamaged(msg, hint=_HINT_WHOLE)


def _head(record: Any) -> dict[str, Any]:
    match record:
        case [str(magic), int(fmt), dict(head)] if magic == MAGIC and 1 <= fmt <= FORMAT:
            return head
        case [str(magic), int(fmt), *_] if magic == MAGIC:
            msg = f"the export has format {fmt}; this version of Goclaw reads up to {FORMAT}"
            raise ExportInvalid(msg, hint="use the version of Goclaw that wrote it, or a newer one")
    msg = "this is no export of a log"
    raise ExportInvalid(msg, hint="`goclaw log export` writes one")


def _records(stream: gzip.GzipFile) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(
        stream, max_buffer_size=RECORD_BYTES_MAX, strict_map_key=False, use_list=True
    )
    begun = False
    try:
        for record in unpacker:
            begun = True
            yield record
    except gzip.BadGzipFile as error:
        if not begun:
            msg = "this is no export of a log"
            raise ExportInvalid(msg, hint="`goclaw log export` writes one") from error
        raise _damaged(error) from error
    except (EOFError, zlib.error, ValueError, TypeError, msgpack.UnpackException) as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> LogDamaged:
    return LogDamaged(f"the export is cut off or was changed: {error}", hint=_HINT_WHOLE)
