"""Safe YAML: events of libyaml built into plain data, with places, without YAML's surprises.

No anchors, aliases, tags or merge keys; keys are strings; scalars follow the YAML 1.2 core schema
(`on`, `no` and `22:22` are text). Source: YAML 1.2.2, chapter 10.3.2.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import yaml

from goclaw_events.faults import Fault, Places, Where, path_text

if TYPE_CHECKING:
    # Which attributes an event has depends on its class, which the loop looks at.
    Event: TypeAlias = Any

DEPTH_MAX: Final = 32

# libyaml where it was built in; the pure parser behaves the same and is slower.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER: Final = re.compile(
    r"(?P<int>[-+]?[0-9]+)\Z|(?P<oct>0o[0-7]+)\Z|(?P<hex>0x[0-9a-fA-F]+)\Z"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)\Z"
    r"|(?P<odd>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    **dict.fromkeys(("~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS: Final = frozenset("-+.0123456789")
_DIGITS_MAX: Final = 25
_INT_MIN: Final = -(2**63)
_INT_END: Final = 2**64


class _Stop(Exception):
    """Reading cannot go on; the fault is recorded."""


def read_yaml(text: str, places: Places | None = None) -> tuple[Any, list[Fault]]:
    """Return the one document of `text` and every fault of its form.

    With `places`, the place of each key and value is recorded (it takes twice as long).
    After a fault of syntax or depth the value is None.
    """
    reader = _Reader(places)
    try:
        # Here the loader only yields events: it constructs nothing.
        loader = _Loader(text)
    except yaml.YAMLError as error:
        return None, [_syntax_fault(error)]
    try:
        return reader.read(loader), reader.faults
    except yaml.YAMLError as error:
        return None, [*reader.faults, _syntax_fault(error)]
    except _Stop:
        return None, reader.faults
    finally:
        loader.dispose()


def _syntax_fault(error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    message = f"not YAML: {context}: {problem}" if context else f"not YAML: {problem}"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Fault("syntax", message, "", line, column)


class _Reader:
    """Build values from events with a stack of its own: depth costs no recursion."""

    def __init__(self, places: Places | None) -> None:
        self._places = places
        self.faults: list[Fault] = []
        self._stack: list[tuple[dict[str, Any] | list[Any], Where]] = []
        self._key: str | None = None
        self._keys: list[str | None] = []

    def read(self, loader: Any) -> Any:
        root: Any = None
        documents = 0
        next_event = loader.get_event
        while True:
            event: Event = next_event()
            kind = event.__class__
            if kind is yaml.ScalarEvent:
                if self._key is None and self._stack and isinstance(self._stack[-1][0], dict):
                    self._take_key(event)
                    continue
                value, where = self._scalar(event), self._add_place(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                where = self._open(event)
                value = {} if kind is yaml.MappingStartEvent else []
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._stack.pop()
                self._key = self._keys.pop()
                continue
            elif kind is yaml.AliasEvent:
                self._fault(event, "alias", "aliases are not read", "write the value out")
                value, where = None, self._add_place(event)
                if self._at_key():
                    self._key = "?"
                    continue
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self._fault(event, "syntax", "a file holds one definition", "split the file")
                    raise _Stop
                continue
            elif kind is yaml.StreamEndEvent:
                return root
            else:
                continue
            root = self._put(root, value, where)

    def _at_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0], dict) and self._key is None

    def _where(self) -> Where:
        if not self._stack:
            return ()
        container, where = self._stack[-1]
        if isinstance(container, list):
            return (*where, len(container))
        # At a key, the place is that of the mapping.
        return where if self._key is None else (*where, self._key)

    def _add_place(self, event: Event) -> Where:
        if self._places is None:
            return ()
        where = self._where()
        self._places.values.setdefault(where, _place(event))
        return where

    def _put(self, root: Any, value: Any, where: Where) -> Any:
        if self._stack:
            container = self._stack[-1][0]
            if isinstance(container, list):
                container.append(value)
            else:
                # Of two equal keys the first one stands: the second is reported.
                container.setdefault(self._key or "", value)
                self._key = None
        else:
            root = value
        if value.__class__ is dict or value.__class__ is list:
            self._stack.append((value, where))
            self._keys.append(self._key)
            self._key = None
        return root

    def _open(self, event: Event) -> Where:
        if event.anchor is not None:
            self._fault(event, "alias", "anchors are not read", "write the value out each time")
        if event.tag is not None:
            self._fault(event, "tag", f"the tag {event.tag!r} is not read", "leave it out")
        if self._at_key():
            self._fault(event, "bad_key", "a key must be text", "write `key: value`")
            raise _Stop
        if len(self._stack) >= DEPTH_MAX:
            self._fault(event, "too_deep", f"nested more than {DEPTH_MAX} levels deep", "")
            raise _Stop
        return self._add_place(event)

    def _take_key(self, event: Event) -> None:
        key = event.value
        container, where = self._stack[-1]
        if not isinstance(self._scalar(event), str):
            self._fault(event, "bad_key", f"the key {key!r} is not text", "put it in quotes")
        if key in container:
            first = self._places.keys.get((*where, key)) if self._places else None
            message = f"{key!r} is given twice" + (f", first on line {first[0]}" if first else "")
            line, column = _place(event)
            path = path_text((*where, key))
            self.faults.append(
                Fault("duplicate_key", message, path, line, column, "rename or remove one of them")
            )
        elif self._places is not None:
            self._places.keys.setdefault((*where, key), _place(event))
        self._key = key

    def _scalar(self, event: Event) -> Any:
        if event.anchor is not None:
            self._fault(event, "alias", "anchors are not read", "write the value out each time")
        if event.tag is not None:
            self._fault(event, "tag", f"the tag {event.tag!r} is not read", "leave it out")
        text: str = event.value
        if not event.implicit[0]:
            return text
        if text[:1] in _NUMBER_STARTS and text:
            return self._number(event, text)
        return _WORDS.get(text, text)

    def _number(self, event: Event, text: str) -> Any:
        match = _NUMBER.match(text)
        if match is None:
            return text
        form = match.lastgroup
        if form == "float":
            number = float(text)
            if math.isfinite(number):
                return number
        elif form != "odd" and len(text) <= _DIGITS_MAX:
            base = {"int": 10, "oct": 8, "hex": 16}[form or "int"]
            whole = int(text[2:] if base != 10 else text, base)  # noqa: PLR2004
            if _INT_MIN <= whole < _INT_END:
                return whole
        self._fault(event, "bad_value", f"the number {text[:40]} cannot be stored", "quote it")
        return 0

    def _fault(self, event: Event, code: str, message: str, hint: str) -> None:
        line, column = _place(event)
        self.faults.append(Fault(code, message, path_text(self._where()), line, column, hint))


def _place(event: Event) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
