"""Conditions (`when:`): a small grammar parsed to data; no code, bounded in size and depth.

    or      = and ("or" and)*
    and     = not ("and" not)*
    not     = "not" not | compare
    compare = operand (("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in") operand)?
    operand = number | 'text' | "text" | true | false | null | "[" list "]" | ${...} | "(" or ")"

Recursive descent; the depth is counted, so a hostile text ends in a fault.
"""

from __future__ import annotations

import json
import operator
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.errors import EventsError
from goclaw_events.templates import BadTemplate, Reference, read_reference, reference_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TEXT_LENGTH_MAX: Final = 4_096
NODES_MAX: Final = 256
DEPTH_MAX: Final = 32

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<reference>\$\{)
    | (?P<number>-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,2})?(?![\w.]))
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<end>\Z))""",
    re.VERBOSE,
)
_LITERALS: Final = {"true": True, "false": False, "null": None}
_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
    tuple: "list",
    dict: "object",
}
_ORDERS: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_COMPARISONS: Final = frozenset(("==", "!=", *_ORDERS))


class BadCondition(EventsError):
    """A condition cannot be read: the message says where in the text."""

    code = "invalid_condition"


class ConditionFailed(EventsError):
    """A condition compares what cannot be compared."""

    code = "condition_failed"


class Condition(NamedTuple):
    """A parsed condition: msgpack writes it as it stands, `condition_from` reads it back.

    `args` by `op`: `value` the literal, `read` a `Reference`, else conditions.
    """

    op: str
    args: tuple[Any, ...]


def compile_condition(text: str) -> Condition:
    """Parse a condition; raises `BadCondition` (syntax, or beyond a limit)."""
    if len(text) > TEXT_LENGTH_MAX:
        msg = f"a condition of {len(text)} characters is longer than {TEXT_LENGTH_MAX}"
        raise BadCondition(msg)
    parser = _Parser(text)
    condition = parser.parse_or(0)
    if parser.kind != "end":
        raise parser.wrong("an operator or the end")
    return condition


class _Parser:
    """One token of look-ahead over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._nodes = 0
        self.kind = ""
        self.token: Any = None
        self._advance()

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            left = self._text[self._at :].strip()
            msg = f"a condition breaks at {left[:20]!r}"
            raise BadCondition(msg, hint="text stands in quotes, references as ${...}")
        self.kind = match.lastgroup or ""
        self.token = match.group(self.kind)
        self._start = match.start(self.kind)
        self._at = match.end()
        if self.kind == "reference":
            try:
                self.token, self._at = read_reference(self._text, self._start)
            except BadTemplate as error:
                raise BadCondition(error.message, hint=error.hint) from error

    def wrong(self, wanted: str) -> BadCondition:
        found = repr(self._text[self._start : self._at]) if self.kind != "end" else "the end"
        msg = f"a condition has {found} at character {self._start + 1}, not {wanted}"
        return BadCondition(msg, hint="for example: ${tasks.scan.result.count} > 0 and not ...")

    def _node(self, op: str, *args: Any) -> Condition:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            msg = f"a condition has more than {NODES_MAX} parts"
            raise BadCondition(msg)
        return Condition(op, args)

    def _deeper(self, depth: int) -> int:
        if depth >= DEPTH_MAX:
            msg = f"a condition is nested more than {DEPTH_MAX} levels deep"
            raise BadCondition(msg)
        return depth + 1

    def _take(self, kind: str, token: str) -> bool:
        if self.kind == kind and self.token == token:
            self._advance()
            return True
        return False

    def parse_or(self, depth: int) -> Condition:
        parts = [self._parse_and(depth)]
        while self._take("word", "or"):
            parts.append(self._parse_and(depth))
        return self._node("or", *parts) if len(parts) > 1 else parts[0]

    def _parse_and(self, depth: int) -> Condition:
        parts = [self._parse_not(depth)]
        while self._take("word", "and"):
            parts.append(self._parse_not(depth))
        return self._node("and", *parts) if len(parts) > 1 else parts[0]

    def _parse_not(self, depth: int) -> Condition:
        if self._take("word", "not"):
            return self._node("not", self._parse_not(self._deeper(depth)))
        left = self._parse_operand(depth)
        op = self._comparison()
        return self._node(op, left, self._parse_operand(depth)) if op else left

    def _comparison(self) -> str:
        if self.kind == "sign" and self.token in _COMPARISONS:
            op = str(self.token)
            self._advance()
            return op
        if self._take("word", "in"):
            return "in"
        if self._take("word", "not"):
            if not self._take("word", "in"):
                raise self.wrong("'in'")
            return "not in"
        return ""

    def _parse_operand(self, depth: int) -> Condition:
        kind, token = self.kind, self.token
        if self._take("sign", "("):
            return self._parse_group(self._deeper(depth))
        if self._take("sign", "["):
            return self._parse_list(self._deeper(depth))
        if kind == "reference":
            node = self._node("read", token)
        elif kind == "number":
            node = self._node("value", json.loads(token))
        elif kind == "text":
            node = self._node("value", re.sub(r"\\(.)", r"\1", token[1:-1]))
        elif kind == "word" and token in _LITERALS:
            node = self._node("value", _LITERALS[token])
        else:
            raise self.wrong("a value")
        self._advance()
        return node

    def _parse_group(self, depth: int) -> Condition:
        inner = self.parse_or(depth)
        if not self._take("sign", ")"):
            raise self.wrong("')'")
        return inner

    def _parse_list(self, depth: int) -> Condition:
        items: list[Condition] = []
        while not self._take("sign", "]"):
            if items and not self._take("sign", ","):
                raise self.wrong("',' or ']'")
            items.append(self._parse_operand(depth))
        return self._node("list", *items)


def condition_from(data: Sequence[Any]) -> Condition:
    """Return the condition that msgpack read as lists."""
    op, args = data
    if op == "value":
        return Condition(op, tuple(args))
    if op == "read":
        return Condition(op, (reference_from(args[0]),))
    return Condition(op, tuple(condition_from(arg) for arg in args))


def condition_references(condition: Condition) -> Iterator[Reference]:
    """Yield every reference of a condition, in the order of the text."""
    if condition.op == "read":
        yield condition.args[0]
    elif condition.op != "value":
        for arg in condition.args:
            yield from condition_references(arg)


def evaluate(condition: Condition, lookup: Callable[[Reference], Any]) -> bool:
    """Tell whether a condition holds. Null, false, 0 and what is empty do not hold.

    `and` and `or` stop early. Values of different kinds are unequal; ordering them, or asking
    whether something is in what holds nothing, raises `ConditionFailed`.
    """
    return bool(_value(condition, lookup))


def _value(condition: Condition, lookup: Callable[[Reference], Any]) -> Any:
    op, args = condition
    if op == "value":
        return args[0]
    if op == "read":
        return lookup(args[0])
    if op == "and":
        return all(_value(arg, lookup) for arg in args)
    if op == "or":
        return any(_value(arg, lookup) for arg in args)
    values = [_value(arg, lookup) for arg in args]
    if op == "list":
        return values
    return not values[0] if op == "not" else _compare(op, values[0], values[1])


def _compare(op: str, left: Any, right: Any) -> bool:
    if op in ("==", "!="):
        return _same(left, right) == (op == "==")
    if op in ("in", "not in"):
        return _contains(right, left) == (op == "in")
    kinds = (_kind(left), _kind(right))
    if kinds not in (("number", "number"), ("string", "string")):
        msg = f"a condition compares a {kinds[0]} with a {kinds[1]} by {op}"
        raise ConditionFailed(msg, hint="order numbers with numbers and text with text")
    return bool(_ORDERS[op](left, right))


def _kind(value: Any) -> str:
    return _KINDS.get(type(value)) or next(
        (name for cls, name in _KINDS.items() if isinstance(value, cls)), type(value).__name__
    )


def _same(left: Any, right: Any) -> bool:
    return _kind(left) == _kind(right) and bool(left == right)


def _contains(container: Any, item: Any) -> bool:
    kind = _kind(container)
    if kind == "list":
        return any(_same(item, other) for other in container)
    if kind in ("string", "object") and isinstance(item, str):
        return item in container
    msg = f"a condition asks whether a {_kind(item)} is in a {kind}"
    raise ConditionFailed(msg, hint="'in' looks in a list, a text in a text, a key in an object")
