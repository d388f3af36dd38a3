"""Redaction: what this process knows to be secret does not leave in a result, an error or a log."""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from goclaw_actors.work import Consumed, Emitted, Progress, Saved, Stepped
from goclaw_events.value import BlobRef, pack, store, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from goclaw_actors.work import Report
    from goclaw_events.value import Value

SECRET_CHARS_MIN: Final = 4
"""A shorter secret cannot be told from ordinary text, so it is not accepted as one; a shorter part
of one, at the place where a text was cut, is not told from it either."""
LINE_CHARS_MIN: Final = 8
"""Of a secret of several lines, a line that is no shorter is one too: lines come one by one."""
CUT: Final = "..."
"""What stands where a text was cut."""


class Redactor:
    """Replace secrets, also written in base64, JSON or a URL, by `[secret NAME]`. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._text: re.Pattern[str] | None = None
        self._bytes: re.Pattern[bytes] | None = None

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Take in secrets by name; what was known stays known, also after a rotation."""
        with self._lock:
            names = dict(self._names)
            for name, value in secrets.items():
                for form in _forms(value):
                    names.setdefault(form, name)
            if len(names) == len(self._names):
                return
            longest_first = sorted(names, key=len, reverse=True)
            self._names = names
            self._bytes = re.compile(b"|".join(re.escape(form.encode()) for form in longest_first))
            self._text = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return text if self._text is None else self._text.sub(self._name_of, text)

    def _name_of(self, found: re.Match[str]) -> str:
        return _mark(self._names[found.group()])

    def marked(self, text: str) -> str:
        """Return a text without secrets, nor parts of one beside `CUT` at its start or end."""
        start, end = text.startswith(CUT), text.endswith(CUT) and len(text) > len(CUT)
        if self._text is None or not (start or end):
            return self.text(text)
        whole = text[len(CUT) if start else 0 : -len(CUT) if end else None]
        return CUT * start + self.cut(whole, start=start, end=end) + CUT * end

    def cut(self, text: str, *, start: bool = False, end: bool = False) -> str:
        """Return a text without secrets, nor the part of one that was cut at its start or end.

        A part of fewer than `SECRET_CHARS_MIN` characters stays.
        """
        names = self._names
        before = after = ""
        if start and end and len(text) >= SECRET_CHARS_MIN:
            inside = next((name for form, name in names.items() if text in form), None)
            if inside is not None:
                return _mark(inside)
        # What is left may again end in a part: of a secret that reaches into this one.
        while end and (found := _part_at_end(text, names)):
            text, after = text[: -found[0]], after or _mark(found[1])
        while start and (found := _part_at_start(text, names)):
            text, before = text[found[0] :], before or _mark(found[1])
        return before + self.text(text) + after

    def value(self, value: Any) -> Any:
        """Return plain data without secrets, keys of dicts included; however deep it is."""
        top = [value]
        waiting: list[list[Any] | dict[str, Any]] = [top]
        while waiting:
            box = waiting.pop()
            for key in range(len(box)) if isinstance(box, list) else box:
                item = self._part(box[key])  # type: ignore[index] # the key is the box's
                box[key] = item  # type: ignore[index] # the key is the box's
                if isinstance(item, (dict, list)):
                    waiting.append(item)
        return top[0]

    def _part(self, value: Any) -> Any:
        """Return a text, bytes or the keys of a dict without secrets; a copy of what has parts."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self._bytes.sub(self._bytes_of, value) if self._bytes is not None else value
        if isinstance(value, dict):
            return {self.text(key): item for key, item in value.items()}
        return list(value) if isinstance(value, list) else value

    def _bytes_of(self, found: re.Match[bytes]) -> bytes:
        return _mark(self._names[found.group().decode()]).encode()

    def items(self, items: list[Report]) -> list[Report]:
        """Return outcomes and progress without secrets; the same list while none is known."""
        return items if self._text is None else [self._item(item) for item in items]

    def _item(self, item: Report) -> Report:
        if isinstance(item, Consumed):
            return item
        if isinstance(item, Progress):
            return item._replace(message=self.marked(item.message))
        if isinstance(item, Emitted):
            return item._replace(value=self._kept(item.value, None)[0])
        if isinstance(item, Stepped):  # it was looked at before: see `holds_secret`
            result, blobs = self._kept(item.result, item.blobs)
            return item._replace(result=result, blobs=blobs)
        if isinstance(item, Saved):
            state, blobs = self._kept(item.state, item.blobs)
            return item._replace(state=state, blobs=blobs)
        if item.message or item.trace:
            item = item._replace(message=self.marked(item.message), trace=self.marked(item.trace))
        result, blobs = self._kept(item.result, item.blobs)
        return item if result is item.result else item._replace(result=result, blobs=blobs)

    def holds_secret(self, value: Value, blobs: dict[bytes, bytes] | None) -> bool:
        """Tell whether a secret is in a value, or in the large ones that it refers to."""
        if self._bytes is None or value is None:
            return False
        return any(map(self._is_in, blobs.values() if blobs else (pack(value),)))

    def _kept(
        self, value: Value, blobs: dict[bytes, bytes] | None
    ) -> tuple[Value, dict[bytes, bytes] | None]:
        """Return a value as it may be kept, and its blobs; the same ones if no secret is in it."""
        if blobs:
            return self._large(value, blobs)
        if value is not None and self._is_in(pack(value)):
            return self.value(value), None
        return value, blobs

    def _is_in(self, data: bytes) -> bool:
        return self._bytes is not None and self._bytes.search(data) is not None

    def _large(
        self, ref: Value, blobs: dict[bytes, bytes]
    ) -> tuple[Value, dict[bytes, bytes] | None]:
        """Store a large value again if a secret is in it: it gets another hash."""
        whole = blobs.get(ref.sha256) if isinstance(ref, BlobRef) else None
        if whole is None or not self._is_in(whole):
            return ref, blobs
        fresh: dict[bytes, bytes] = {}
        return store(self.value(unpack(whole)), fresh), fresh or None


KNOWN: Final = Redactor()
"""What is secret to any engine of this process: the process's logs are redacted with it."""


def _mark(name: str) -> str:
    return f"[secret {name}]"


def _part_at_end(text: str, names: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the length and name of the longest beginning of a secret that a text ends in."""
    last, longest = text[-SECRET_CHARS_MIN:], (0, "")
    for form, name in names.items() if len(last) == SECRET_CHARS_MIN else ():
        at = form.find(last)
        while at >= 0:
            length = at + SECRET_CHARS_MIN
            if length > longest[0] and text.endswith(form[:length]):
                longest = length, name
            at = form.find(last, at + 1)
    return longest if longest[0] else None


def _part_at_start(text: str, names: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the length and name of the longest end of a secret that a text starts with."""
    first, longest = text[:SECRET_CHARS_MIN], (0, "")
    for form, name in names.items() if len(first) == SECRET_CHARS_MIN else ():
        at = form.find(first)
        while at >= 0:
            length = len(form) - at
            if length > longest[0] and text.startswith(form[at:]):
                longest = length, name
            at = form.find(first, at + 1)
    return longest if longest[0] else None


def _forms(value: str) -> Iterator[str]:
    """Yield a secret as it may stand in results, tracebacks, JSON, URLs and headers."""
    yield value
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= LINE_CHARS_MIN)
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="")
    yield quote_plus(value)
    yield from _in_base64(value.encode())


def _in_base64(data: bytes) -> Iterable[str]:
    """Yield what base64 makes of the bytes wherever they stand in a longer text.

    Three bytes are four characters, so there are three alignments; characters that also depend
    on neighbours are left out.
    """
    for before in range(3):
        whole = len(data) - (-before % 3)
        whole -= whole % 3
        start = -before % 3
        if whole >= 2 * SECRET_CHARS_MIN:
            code = base64.b64encode(data[start : start + whole]).decode()
            yield code
            yield code.translate({ord("+"): "-", ord("/"): "_"})
