"""Strict JSON: one fast pass, and a second one that knows the places if there is a fault.

Refused beyond RFC 8259: duplicate keys, NaN and infinities, integers over 64 bits, lone
surrogates, more than 32 levels.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from json import JSONDecodeError, decoder
from typing import TYPE_CHECKING, Any, Final, NoReturn

from goclaw_events.errors import ValueNotStorable
from goclaw_events.faults import Fault, path_text
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw_events.faults import Places, Where

DEPTH_MAX: Final = 32
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<frac>\.[0-9]+)?(?P<exp>[eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_WORD: Final = re.compile(r"[A-Za-z]+")
_DIGITS_MAX: Final = 25
# The stubs lack it; it is what the standard library's own scanner calls (3.11 to 3.14).
_read_string: Final = decoder.scanstring  # type: ignore[attr-defined]
_INT_MIN: Final = -(2**63)
_INT_END: Final = 2**64


class _Refused(ValueError):
    """The fast pass met something that only the second pass can place."""


def read_json(text: str, places: Places | None = None) -> tuple[Any, list[Fault]]:
    """Return the value of `text` and every fault of its form.

    With `places`, or if there is a fault, the text is read by the slower, placing parser.
    After a fault of syntax or depth the value is None.
    """
    if places is None:
        try:
            return _read_fast(text), []
        except (ValueError, RecursionError, ValueNotStorable):
            # What it was, and where, is for the placing parser to say.
            pass
    return _Parser(text, places).read()


def _read_fast(text: str) -> Any:
    value = json.loads(
        text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_finite
    )
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise _Refused
        inner: list[Any] = []
        for container in level:
            items = container.values() if container.__class__ is dict else container
            inner.extend(i for i in items if i.__class__ is dict or i.__class__ is list)
        level = inner
    # Packing is the quickest proof that every string and integer can be stored.
    pack(value)
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Refused
    return result


def _constant(_: str) -> NoReturn:
    raise _Refused


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused
    return number


class _Stop(Exception):
    """Reading cannot go on; the fault is recorded."""


class _Parser:
    """Read JSON with a stack of its own, remembering where each key and value began."""

    def __init__(self, text: str, places: Places | None) -> None:
        self._text = text
        self._places = places
        self._at = 0
        self._lines = [0, *(match.end() for match in re.finditer(r"\n", text))]
        self._stack: list[tuple[dict[str, Any] | list[Any], Where]] = []
        self.faults: list[Fault] = []

    def read(self) -> tuple[Any, list[Fault]]:
        try:
            root = self._value(())
            while self._stack:
                self._element()
            self._skip()
            if self._at < len(self._text):
                self._syntax("nothing may follow the value")
        except _Stop:
            return None, self.faults
        return root, self.faults

    def _element(self) -> None:
        """Read the next member of the innermost container, or its end."""
        container, where = self._stack[-1]
        closing = "}" if isinstance(container, dict) else "]"
        sign = self._peek()
        if sign == closing:
            self._at += 1
            self._stack.pop()
            return
        if container:
            if sign != ",":
                self._syntax(f"',' or '{closing}' is expected")
            self._at += 1
            if self._peek() == closing:
                self._syntax("a comma stands before the end")
        if isinstance(container, list):
            container.append(None)
            container[-1] = self._value((*where, len(container) - 1))
            return
        key = self._key(container, where)
        # Of two equal keys the first one stands: the second is reported, read and dropped.
        container.setdefault(key, self._value((*where, key)))

    def _key(self, container: dict[str, Any], where: Where) -> str:
        if self._peek() != '"':
            self._syntax("a key in double quotes is expected")
        start = self._at
        key = self._string()
        if key in container:
            first = self._places.keys.get((*where, key)) if self._places else None
            message = f"{key!r} is given twice" + (f", first on line {first[0]}" if first else "")
            self._fault(start, "duplicate_key", message, (*where, key), "rename or remove one")
        elif self._places is not None:
            self._places.keys.setdefault((*where, key), self._place(start))
        if self._peek() != ":":
            self._syntax("':' is expected after a key")
        self._at += 1
        return key

    def _value(self, where: Where) -> Any:
        sign = self._peek()
        start = self._at
        if self._places is not None:
            self._places.values.setdefault(where, self._place(start))
        if sign in ("{", "["):
            if len(self._stack) >= DEPTH_MAX:
                message = f"nested more than {DEPTH_MAX} levels deep"
                self._fault(start, "too_deep", message, where)
                raise _Stop
            container: dict[str, Any] | list[Any] = {} if sign == "{" else []
            self._stack.append((container, where))
            self._at += 1
            return container
        if sign == '"':
            text = self._string()
            if not _is_storable(text):
                self._fault(start, "bad_value", "half of a surrogate pair is not text", where)
            return text
        number = _NUMBER.match(self._text, start)
        if number is not None:
            self._at = number.end()
            return self._number(number, where)
        return self._word(start, where)

    def _number(self, match: re.Match[str], where: Where) -> int | float:
        text = match.group()
        if match["frac"] or match["exp"]:
            number = float(text)
            if math.isfinite(number):
                return number
        elif len(text) <= _DIGITS_MAX and _INT_MIN <= int(text) < _INT_END:
            return int(text)
        message = f"the number {text[:40]} cannot be stored"
        self._fault(match.start(), "bad_value", message, where, "put it in quotes")
        return 0

    def _word(self, start: int, where: Where) -> bool | None:
        word = _WORD.match(self._text, start)
        if word is not None and word.group() in _WORDS:
            self._at = word.end()
            return _WORDS[word.group()]
        if word is not None and word.group() in ("NaN", "Infinity"):
            self._at = word.end()
            self._fault(start, "bad_value", f"{word.group()} is not a number of JSON", where)
            return None
        found = repr(self._text[start : start + 20])
        return self._syntax(f"{found} is no value" if found != "''" else "the text ends too early")

    def _string(self) -> str:
        try:
            text, self._at = _read_string(self._text, self._at + 1, True)
        except JSONDecodeError as error:
            self._at = min(error.pos, len(self._text))
            self._syntax(error.msg)
        return str(text)

    def _peek(self) -> str:
        self._skip()
        return self._text[self._at : self._at + 1]

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1

    def _fault(self, at: int, code: str, message: str, where: Where, hint: str = "") -> None:
        line, column = self._place(at)
        self.faults.append(Fault(code, message, path_text(where), line, column, hint))

    def _syntax(self, message: str) -> NoReturn:
        self._fault(self._at, "syntax", f"not JSON: {message}", ())
        raise _Stop


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
