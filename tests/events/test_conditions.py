"""Conditions: the grammar, what holds, what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events.conditions import (
    BadCondition,
    Condition,
    ConditionFailed,
    compile_condition,
    condition_from,
    condition_references,
    evaluate,
)
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from goclaw_events.templates import Reference

VALUES: dict[str, Any] = {
    "n": 3,
    "f": 2.5,
    "s": "abc",
    "t": True,
    "z": None,
    "l": [1, "a", None],
    "d": {"k": 1},
    "e": [],
}


def look(ref: Reference) -> Any:
    """Read an input of the test."""
    return VALUES[str(ref.path[0])]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("${input.t}", True),
        ("${input.e}", False),
        ("${input.z}", False),
        ("not ${input.z}", True),
        ("${input.n} == 3", True),
        ("${input.n} == 3.0", True),
        ("${input.n} != 3", False),
        ("${input.n} == '3'", False),
        ("${input.t} == 1", False),
        ("${input.z} == null", True),
        ("${input.n} == null", False),
        ("${input.n} > ${input.f}", True),
        ("${input.n} <= 2.99", False),
        ("-1 < 0 and 1e3 >= 1000", True),
        ('${input.s} < "abd"', True),
        ("'b' in ${input.s}", True),
        ("'k' in ${input.d}", True),
        ("true in ${input.l}", False),
        ("null in ${input.l}", True),
        ("${input.n} in [1, 2, 3]", True),
        ("${input.n} not in [1, ${input.n}]", False),
        ("'x' in []", False),
        ("true or false and false", True),
        ("(true or false) and false", False),
        ("not true or true", True),
        ("not (true or true)", False),
        ("not not true", True),
        ("(1 == 1) == true", True),
        (r"'it\'s' == ", None),
        (r"'it\'s' == \"it's\"".replace('\\"', '"'), True),
        ("[1, [2]] == [1, [2]]", True),
    ],
)
def test_what_a_condition_says(text: str, holds: bool | None) -> None:
    """Comparison, membership, precedence and truth, one case a line."""
    if holds is None:
        with pytest.raises(BadCondition):
            compile_condition(text)
    else:
        assert evaluate(compile_condition(text), look) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "1 <",
        "< 1",
        "1 == 2 == 3",
        "a",
        "true false",
        "(true",
        "[1 2]",
        "[1,",
        "1 not 2",
        "not",
        "x.y",
        "f(1)",
        "__import__('os')",
        "1; 2",
        "007",
        "'open",
        "${input.x",
        "${env.X}",
        "1 & 2",
        "'a' + 'b'",
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str) -> None:
    """There is no code in a condition."""
    with pytest.raises(BadCondition):
        compile_condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 4_097,
        "(" * 33 + "1" + ")" * 33,
        "[" * 33 + "]" * 33,
        "not " * 40 + "true",
        " or ".join(["true"] * 257),
    ],
)
def test_a_condition_is_bounded(text: str) -> None:
    """Size, depth and the number of parts have limits."""
    with pytest.raises(BadCondition):
        compile_condition(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${input.n} < 'a'", "compares a number with a string by <"),
        ("${input.t} < 1", "compares a boolean with a number"),
        ("${input.z} >= 0", "compares a null with a number"),
        ("1 in ${input.n}", "a number is in a number"),
        ("1 in ${input.s}", "a number is in a string"),
        ("${input.l} > ${input.l}", "compares a list with a list"),
    ],
)
def test_what_cannot_be_compared_is_a_typed_failure(text: str, said: str) -> None:
    """The failure has a code and says what was compared."""
    with pytest.raises(ConditionFailed, match=re.escape(said)) as caught:
        evaluate(compile_condition(text), look)
    assert caught.value.code == "condition_failed"


def test_and_and_or_stop_early() -> None:
    """A guard on the left keeps the right from being read."""
    guarded = compile_condition("${input.z} != null and ${input.z} > 0")
    assert evaluate(guarded, look) is False
    assert evaluate(compile_condition("true or ${input.z} > 0"), look) is True


def test_the_references_of_a_condition_are_known() -> None:
    """What a condition reads is found in the order of the text."""
    condition = compile_condition("${tasks.a.result} > 1 and not (${input.x} in [${needs}])")
    assert [ref.root for ref in condition_references(condition)] == ["tasks", "input", "needs"]


Said = tuple[str, Any]
"""The text of a condition and what it says."""

LITERALS: st.SearchStrategy[Said] = st.sampled_from(
    [("1", 1), ("'a'", "a"), ("null", None), ("${input.n}", 3), ("[1, 'a']", [1, "a"]), ("3", 3)]
)


def compared(left: Said, op: str, right: Said) -> Said:
    """Join two literals by a comparison."""
    return f"{left[0]} {op} {right[0]}", (left[1] == right[1]) is (op == "==")


def joined(left: Said, op: str, right: Said) -> Said:
    """Join two conditions."""
    both = [bool(left[1]), bool(right[1])]
    return f"({left[0]}) {op} ({right[0]})", all(both) if op == "and" else any(both)


CONDITIONS: st.SearchStrategy[Said] = st.recursive(
    LITERALS | st.builds(compared, LITERALS, st.sampled_from(["==", "!="]), LITERALS),
    lambda inner: (
        st.builds(joined, inner, st.sampled_from(["and", "or"]), inner)
        | inner.map(lambda said: (f"not ({said[0]})", not said[1]))
    ),
    max_leaves=6,
)


@given(CONDITIONS)
def test_msgpack_keeps_a_condition(said: Said) -> None:
    """What is read back from bytes is equal and says what was meant."""
    text, holds = said
    condition = compile_condition(text)
    back = condition_from(unpack(pack(condition)))
    assert back == condition
    assert isinstance(back, Condition)
    assert evaluate(back, look) is bool(holds)
