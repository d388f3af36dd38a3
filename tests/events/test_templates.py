"""Templates: what they read, how they render, what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events.templates import (
    BadTemplate,
    Reference,
    Template,
    TemplateFailed,
    compile_template,
    placed_references,
    references,
    render,
    template_from,
)
from goclaw_events.value import follow, pack, unpack

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def lookup_in(world: dict[str, Any]) -> Any:
    """Return a lookup that reads `input` and results from a plain dict."""

    def lookup(ref: Reference) -> Any:
        if ref.root == "tasks":
            return follow(world["tasks"][ref.task][ref.field], ref.path)
        return follow(world[ref.root], ref.path or ((ref.field,) if ref.field else ()))

    return lookup


WORLD: dict[str, Any] = {
    "input": {"root": "/srv", "n": 3, "a.b": {"c d": 7}},
    "tasks": {
        "fetch": {"result": {"url": "http://x", "items": [10, {"k": None}]}, "status": "completed"},
        "a.b": {"result": [1, 2], "status": "completed"},
    },
    "needs": {"fetch": 1},
    "run": {"id": "r1"},
    "task": {"id": "t1"},
    "secret": {"KEY": "shh"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${input.root}", "/srv"),
        ("${ input.n }", 3),
        ('${input["a.b"]["c d"]}', 7),
        ("${input['a.b']}", {"c d": 7}),
        ("${tasks.fetch.result}", WORLD["tasks"]["fetch"]["result"]),
        ("${tasks.fetch.result.items[1].k}", None),
        ("${tasks.fetch.result.items[-2]}", 10),
        ('${tasks["a.b"].result[1]}', 2),
        ("${tasks.fetch.status}", "completed"),
        ("${tasks.fetch.result.nothing.there}", None),
        ("${needs}", {"fetch": 1}),
        ("${run.id}/${task.id}", "r1/t1"),
        ("${secret.KEY}", "shh"),
        ("n=${input.n}, i=${tasks.fetch.result.items}", 'n=3, i=[10, {"k": null}]'),
        ("<${tasks.fetch.result.items[1].k}>", "<>"),
        ("$${input.root} ${input.root} $ {", "${input.root} /srv $ {"),
        ("$${}", "${}"),
    ],
)
def test_a_template_renders_to_what_it_reads(text: str, expected: object) -> None:
    """One reference yields the value itself; within text a value is written out."""
    assert render(compile_template(text), lookup_in(WORLD)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${", "does not name anything"),
        ("${}", "does not name anything"),
        ("${input.root", "no closing brace"),
        ("${input.root + 1}", "breaks at ' + 1}'"),
        ("${input.root()}", "breaks at '()}'"),
        ("${input..x}", "breaks"),
        ("${input[x]}", "breaks"),
        ("${env.HOME}", "reads 'env'"),
        ("${tasks}", "does not name a task"),
        ("${tasks.a}", "no result and no status"),
        ("${tasks.a.b.result}", "no result and no status"),
        ("${tasks.a.status.x}", "no result and no status"),
        ("${tasks[0].result}", "does not name a task"),
        ("${run.name}", "cannot be read"),
        ("${secret}", "does not name a secret"),
        ("${input" + ".a" * 65 + "}", "more than 64 steps"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, said: str) -> None:
    """There is no code in templates, and nothing to read but what is listed."""
    with pytest.raises(BadTemplate, match="x: ") as caught:
        compile_template({"x": text})
    assert said in str(caught.value)


def test_every_bad_string_is_reported_with_its_place() -> None:
    """With a listener, all faults of a value are found, not the first."""
    found: list[tuple[object, ...]] = []
    compile_template(
        {"a": ["${", "${input.x}"], "b": {"${k}": "${nope}"}, "c": object()},
        lambda where, *_: found.append(where),
    )
    assert found == [("a", 0), ("b", "${k}"), ("b", "${k}"), ("c",)]


def test_what_reads_nothing_is_static_and_costs_nothing() -> None:
    """A template without references renders to one object, made once."""
    template = compile_template({"a": [1, {"b": "x"}], "c": "$${d}"})
    assert template.is_static
    assert render(template, lambda _: pytest.fail("nothing is read")) is template.body
    assert template.body == {"a": [1, {"b": "x"}], "c": "${d}"}


def test_rendering_is_a_single_pass() -> None:
    """What was read is a value, even if it looks like a template."""
    world = WORLD | {"input": {"root": "${run.id}"}}
    assert render(compile_template("${input.root}!"), lookup_in(world)) == "${run.id}!"


def test_references_come_with_their_places() -> None:
    """Each reference is found, with the place of the string that holds it."""
    template = compile_template({"a": ["x", "${input.n} ${needs}"], "b": "${tasks.t.result[0]}"})
    assert list(placed_references(template)) == [
        (("a", 1), Reference("input", "", "", ("n",))),
        (("a", 1), Reference("needs", "", "", ())),
        (("b",), Reference("tasks", "t", "result", (0,))),
    ]
    assert [ref.root for ref in references(template)] == ["input", "needs", "tasks"]


@pytest.mark.parametrize("value", [object(), 2**64, -(2**63) - 1, {1: 2}, {"a": {1, 2}}])
def test_what_cannot_be_stored_is_refused(value: object) -> None:
    """A template goes into the log, so it holds what the log can hold."""
    with pytest.raises(BadTemplate):
        compile_template(value)


def test_depth_is_bounded() -> None:
    """A value nested too deep is refused, not recursed into."""
    value: Any = "x"
    for _ in range(2_000):
        value = [value]
    with pytest.raises(BadTemplate, match="levels deep"):
        compile_template(value)


def test_bytes_do_not_stand_within_text() -> None:
    """A value that JSON cannot say fails with a typed error."""
    with pytest.raises(TemplateFailed):
        render(compile_template("a ${input.x}"), lambda _: b"\xff")


@given(VALUES)
def test_any_value_comes_through(value: Any) -> None:
    """A value without references renders to itself; escaped, its text is kept to the letter."""

    def escaped(item: Any) -> Any:
        if isinstance(item, str):
            return item.replace("${", "$${")
        if isinstance(item, list):
            return [escaped(inner) for inner in item]
        if isinstance(item, dict):
            return {key.replace("$", "S"): escaped(inner) for key, inner in item.items()}
        return item

    def keys_only(item: Any) -> Any:
        if isinstance(item, list):
            return [keys_only(inner) for inner in item]
        if isinstance(item, dict):
            return {key.replace("$", "S"): keys_only(inner) for key, inner in item.items()}
        return item

    template = compile_template(escaped(value))
    assert template.is_static
    assert template.body == keys_only(value)


PIECES = st.sampled_from(
    ["${input.n}", "${tasks.fetch.result.url}", "$${x}", "text", '${tasks["a.b"].result}', "$", ""]
)
TEMPLATES = st.recursive(
    st.lists(PIECES, max_size=4).map("".join) | st.integers(0, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner),
    max_leaves=8,
)


@given(TEMPLATES)
def test_msgpack_keeps_a_template(value: Any) -> None:
    """What is read back from bytes is equal, of the same types, and renders the same."""
    template = compile_template(value)
    back = template_from(unpack(pack(template)))
    assert back == template
    assert isinstance(back, Template)
    assert all(isinstance(ref, Reference) for ref in references(back))
    assert render(back, lookup_in(WORLD)) == render(template, lookup_in(WORLD))
