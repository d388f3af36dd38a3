"""Loading: every fault of a text in one report, with its line and column."""

from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events import yaml_source
from goclaw_events.faults import Fault, InvalidDefinition, Places
from goclaw_events.json_source import read_json
from goclaw_events.loading import TEXT_BYTES_MAX, load_definition, load_definition_file
from goclaw_events.plan import compile_plan
from goclaw_events.yaml_source import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

Report = list[tuple[str, str, int, int]]


def report(text: str | bytes, text_format: Any = "yaml") -> Report:
    """Return (code, path, line, column) of every fault; empty if the text is valid."""
    try:
        load_definition(text, text_format, "x")
    except InvalidDefinition as error:
        return [(fault.code, fault.path, fault.line, fault.column) for fault in error.faults]
    return []


HEAD = "name: d\ntasks:\n"
"""Two lines, so that a task that follows begins on line 3."""

TABLE: dict[str, tuple[str, Report]] = {
    "unknown key": (
        HEAD + "  a: {agent: x, tiemout: 3s}\n",
        [("unknown_key", "tasks.a.tiemout", 3, 17)],
    ),
    "unknown key at the top": (
        "name: d\nlane: {}\ntasks: {a: {agent: x}}\n",
        [("unknown_key", "lane", 2, 1)],
    ),
    "cycle": (
        HEAD
        + "  a: {agent: x, needs: [c]}\n  b: {agent: x, needs: [a]}\n  c: {agent: x, needs: [b]}\n",
        [("cycle", "tasks.a.needs[0]", 3, 25)],
    ),
    "two cycles": (
        HEAD
        + "  a: {agent: x, needs: [b]}\n  b: {agent: x, needs: [a]}\n"
        + "  c: {agent: x, needs: [d]}\n  d: {agent: x, needs: [c]}\n",
        [("cycle", "tasks.a.needs[0]", 3, 25), ("cycle", "tasks.c.needs[0]", 5, 25)],
    ),
    "dangling need": (
        HEAD + "  a: {agent: x, needs: [b]}\n",
        [("dangling_need", "tasks.a.needs[0]", 3, 25)],
    ),
    "dangling need, its template not reported again": (
        HEAD + "  scan: {agent: x}\n"
        "  b: {agent: x, needs: [scn], with: {v: '${tasks.scan.result}'}}\n",
        [("dangling_need", "tasks.b.needs[0]", 4, 25)],
    ),
    "duplicate id": (
        HEAD + "  a: {agent: x}\n  a: {agent: y}\n",
        [("duplicate_key", "tasks.a", 4, 3)],
    ),
    "self dependency": (
        HEAD + "  a: {agent: x, needs: [a]}\n",
        [("self_dependency", "tasks.a.needs[0]", 3, 25)],
    ),
    "needed twice": (
        HEAD + "  a: {agent: x}\n  b: {agent: x, needs: [a, a]}\n",
        [("duplicate_need", "tasks.b.needs[1]", 4, 28)],
    ),
    "bad duration": (
        HEAD + "  a:\n    agent: x\n    timeout: 30x\n",
        [("bad_duration", "tasks.a.timeout", 5, 14)],
    ),
    "timeout of nothing": (
        HEAD + "  a: {agent: x, timeout: 0}\n",
        [("bad_duration", "tasks.a.timeout", 3, 26)],
    ),
    "bad wait": (HEAD + "  a: {wait: soon}\n", [("bad_duration", "tasks.a.wait", 3, 13)]),
    "unknown lane": (
        "name: d\nlanes: {io: {}}\ntasks:\n  a: {agent: x, lane: oi}\n",
        [("unknown_lane", "tasks.a.lane", 4, 23)],
    ),
    "no kind": (HEAD + "  a:\n    needs: []\n", [("no_kind", "tasks.a", 3, 3)]),
    "two kinds": (
        HEAD + "  a: {exec: [ls], agent: x}\n",
        [("two_kinds", "tasks.a.agent", 3, 19)],
    ),
    "template of a task not needed": (
        HEAD + "  a: {agent: x}\n  b: {agent: x, with: {v: ['${tasks.a.result}']}}\n",
        [("not_needed", "tasks.b.with.v[0]", 4, 28)],
    ),
    "template of a task not known": (
        HEAD + "  a: {agent: x, with: {v: '${tasks.b.result}'}}\n",
        [("unknown_task", "tasks.a.with.v", 3, 27)],
    ),
    "template of its own task": (
        HEAD + "  a: {agent: x, with: {v: '${tasks.a.result}'}}\n",
        [("not_needed", "tasks.a.with.v", 3, 27)],
    ),
    "template of an input not declared": (
        "name: d\ninput: {root: {}}\ntasks:\n  a: {agent: x, with: {v: '${input.rot}'}}\n",
        [("unknown_input", "tasks.a.with.v", 4, 27)],
    ),
    "needs of another": (
        HEAD + "  a: {agent: x}\n  b: {agent: x, with: {v: '${needs.a}'}}\n",
        [("not_needed", "tasks.b.with.v", 4, 27)],
    ),
    "bad template": (
        HEAD + "  a: {agent: x, with: {v: '${os.environ}'}}\n",
        [("bad_template", "tasks.a.with.v", 3, 27)],
    ),
    "a secret where it would be shown": (
        HEAD + "  a: {agent: x}\noutput: ['${secret.K}', '${needs}']\n",
        [("bad_template", "output[0]", 4, 10), ("bad_template", "output[1]", 4, 25)],
    ),
    "condition on a task not needed": (
        HEAD + "  a: {agent: x}\n  b: {agent: x, when: '${tasks.a.result} > 1'}\n",
        [("not_needed", "tasks.b.when", 4, 23)],
    ),
    "bad condition": (
        HEAD + "  a: {agent: x, when: 1 <}\n",
        [("bad_condition", "tasks.a.when", 3, 23)],
    ),
    "bad id": (HEAD + "  a b: {agent: x}\n", [("bad_id", 'tasks["a b"]', 3, 3)]),
    "bad name": ("name: 'a/b'\ntasks: {a: {agent: x}}\n", [("bad_id", "name", 1, 7)]),
    "missing": ("name: d\n", [("missing_key", "tasks", 1, 1)]),
    "missing within": (
        HEAD + "  a:\n    http: {method: GET}\n",
        [("missing_key", "tasks.a.http.url", 4, 5)],
    ),
    "no tasks": ("name: d\ntasks: {}\n", [("bad_value", "tasks", 2, 8)]),
    "types": (
        HEAD + "  a: {agent: 1, needs: b, priority: high, labels: {x: 1}}\n",
        [
            ("bad_type", "tasks.a.agent", 3, 14),
            ("bad_type", "tasks.a.needs", 3, 24),
            ("bad_type", "tasks.a.priority", 3, 37),
            ("bad_type", "tasks.a.labels.x", 3, 55),
        ],
    ),
    "ranges": (
        HEAD + "  a: {agent: x, priority: 1001, retry: {attempts: 0, jitter: half}}\n",
        [
            ("bad_value", "tasks.a.priority", 3, 27),
            ("bad_value", "tasks.a.retry.attempts", 3, 51),
            ("bad_value", "tasks.a.retry.jitter", 3, 62),
        ],
    ),
    "keyed lane": (
        HEAD + "  a: {agent: x, lane: {name: io, key: fixed, more: 1}}\n",
        [
            ("unknown_lane", "tasks.a.lane.name", 3, 30),
            ("bad_template", "tasks.a.lane.key", 3, 39),
            ("unknown_key", "tasks.a.lane.more", 3, 46),
        ],
    ),
    "lane redirects": (
        (
            "name: d\nlanes:\n  a: {overflow: redirect, redirect_to: b}\n"
            "  b: {overflow: redirect, redirect_to: a}\n  c: {overflow: redirect}\n"
            "  d: {redirect_to: a}\ntasks: {a: {agent: x}}\n"
        ),
        [
            ("cycle", "lanes.a.redirect_to", 3, 40),
            ("missing_key", "lanes.c.overflow", 5, 17),
            ("not_applicable", "lanes.d.redirect_to", 6, 7),
        ],
    ),
    "what has no meaning": (
        HEAD + "  a: {wait: 1s, timeout: 3s}\n  b: {agent: x, stdin: y}\n",
        [("not_applicable", "tasks.a.timeout", 3, 17), ("not_applicable", "tasks.b.stdin", 4, 17)],
    ),
    "default of another type": (
        "name: d\ninput: {n: {type: integer, default: x}}\ntasks: {a: {agent: x}}\n",
        [("bad_value", "input.n.default", 2, 37)],
    ),
    "an alias": (
        HEAD + "  a: &x {agent: x}\n  b: *x\n",
        [("alias", "tasks.a", 3, 6), ("alias", "tasks.b", 4, 6)],
    ),
    "a tag": (
        HEAD + "  a: {agent: !!python/name:os.system x}\n",
        [("tag", "tasks.a.agent", 3, 14)],
    ),
    "keys that are not text": (
        HEAD + "  1: {agent: x}\n  true: {agent: x}\n",
        [("bad_key", "tasks", 3, 3), ("bad_key", "tasks", 4, 3)],
    ),
    "a key that is a list": (HEAD + "  ? [a]\n  : {agent: x}\n", [("bad_key", "tasks", 3, 5)]),
    "numbers that cannot be kept": (
        HEAD + "  a: {agent: x, with: {a: .inf, b: 99999999999999999999, c: 1e999}}\n",
        [
            ("bad_value", "tasks.a.with.a", 3, 27),
            ("bad_value", "tasks.a.with.b", 3, 36),
            ("bad_value", "tasks.a.with.c", 3, 61),
        ],
    ),
    "broken syntax": ("name: d\ntasks: {a: [}\n", [("syntax", "", 2, 13)]),
    "two documents": ("name: d\n---\nname: e\n", [("syntax", "", 2, 1)]),
    "nothing": ("", [("bad_type", "", 0, 0)]),
    "a list": ("- a\n", [("bad_type", "", 1, 1)]),
}


def _expected(name: str) -> tuple[str, Report]:
    text, faults = TABLE[name]
    return text, faults


@pytest.mark.parametrize("name", TABLE)
def test_a_fault_is_reported_with_its_place(name: str) -> None:
    """One text, exactly these faults, at these lines and columns."""
    text, expected = _expected(name)
    assert report(text) == expected


def test_every_fault_of_a_file_is_in_one_report() -> None:
    """Faults of fields do not hide faults of the graph, nor the other way round."""
    text = dedent("""\
        name: digest
        lanes: {io: {concurency: 8}}
        input: {root: {type: string}}
        tasks:
          scan:
            agent: digest.scan
            with: {root: "${input.rot}"}
            timeout: 30x
            lane: oi
          left: {agent: a, needs: [right], priority: high}
          right: {agent: a, needs: [left, scn]}
          none: {needs: [none]}
          far: {agent: a, with: {x: "${tasks.scan.result}"}}
          far: {agent: a}
        """)
    with pytest.raises(InvalidDefinition) as caught:
        load_definition(text, "yaml", "digest.yaml")
    found = [(fault.code, fault.line, fault.column) for fault in caught.value.faults]
    assert found == [
        ("unknown_key", 2, 14),
        ("unknown_input", 7, 18),
        ("bad_duration", 8, 14),
        ("unknown_lane", 9, 11),
        ("cycle", 10, 28),
        ("bad_type", 10, 46),
        ("dangling_need", 11, 35),
        ("no_kind", 12, 3),
        ("self_dependency", 12, 18),
        ("not_needed", 13, 29),
        ("duplicate_key", 14, 3),
    ]
    said = str(caught.value)
    assert said.startswith("digest.yaml: 11 faults\n")
    assert "left -> right -> left" in said
    assert "did you mean 'concurrency'?" in said
    assert "did you mean 'scan'?" in said
    assert "first on line 13" in said
    assert caught.value.code == "invalid_definition"


JSON_TABLE: dict[str, tuple[str, Report]] = {
    "duplicate id": (
        '{"name": "d",\n "tasks": {"a": {"agent": "x"},\n  "a": {"agent": "y"}}}',
        [("duplicate_key", "tasks.a", 3, 3)],
    ),
    "cycle and unknown key": (
        (
            '{"name": "d", "tasks": {\n"a": {"agent": "x", "needs": ["b"], "z": 1},\n'
            '"b": {"agent": "x", "needs": ["a"]}}}'
        ),
        [("cycle", "tasks.a.needs[0]", 2, 31), ("unknown_key", "tasks.a.z", 2, 37)],
    ),
    "not a number": (
        '{"name": "d", "tasks": {"a": {"agent": "x", "with": {"v": [NaN, 1e999]}}}}',
        [("bad_value", "tasks.a.with.v[0]", 1, 60), ("bad_value", "tasks.a.with.v[1]", 1, 65)],
    ),
    "an integer too large": (
        '{"name": "d", "tasks": {"a": {"agent": "x", "with": {"v": 18446744073709551616}}}}',
        [("bad_value", "tasks.a.with.v", 1, 59)],
    ),
    "half a surrogate pair": (
        '{"name": "d", "tasks": {"a": {"agent": "x", "with": {"v": "\\ud800"}}}}',
        [("bad_value", "tasks.a.with.v", 1, 59)],
    ),
    "a trailing comma": ('{"name": "d",\n}', [("syntax", "", 2, 1)]),
    "no comma": ('{"name": "d" "tasks": {}}', [("syntax", "", 1, 14)]),
    "no colon": ('{"name" "d"}', [("syntax", "", 1, 9)]),
    "single quotes": ("{'name': 1}", [("syntax", "", 1, 2)]),
    "open text": ('{"name": "d', [("syntax", "", 1, 10)]),
    "a line break in a text": ('{"name": "d\n"}', [("syntax", "", 1, 12)]),
    "no value": ('{"name": }', [("syntax", "", 1, 10)]),
    "no end": ('{"name": "d"', [("syntax", "", 1, 13)]),
    "more than one value": ("{} {}", [("syntax", "", 1, 4)]),
    "nothing": ("", [("syntax", "", 1, 1)]),
}


@pytest.mark.parametrize("name", JSON_TABLE)
def test_json_is_read_strictly(name: str) -> None:
    """One text of JSON, exactly these faults, at these lines and columns."""
    text, expected = JSON_TABLE[name]
    assert report(text, "json") == expected


@pytest.mark.parametrize("text_format", ["yaml", "json"])
def test_depth_and_size_are_bounded(text_format: str) -> None:
    """A hostile text ends in a fault, quickly, however deep or long it is."""
    inner = "[" * 20_000 + "]" * 20_000
    deep = '{"name": "d", "metadata": {"x": ' + inner + '}, "tasks": {}}'
    assert [fault[0] for fault in report(deep, text_format)] == ["too_deep"]
    assert report(" " * (TEXT_BYTES_MAX + 1), text_format) == [("too_large", "", 1, 1)]
    fine = '{"name": "d", "metadata": {"x": ' + "[" * 30 + "]" * 30
    assert report(fine + '}, "tasks": {"a": {"agent": "x"}}}', text_format) == []


def test_bytes_must_be_utf_8() -> None:
    """Other bytes are a fault with a place; a byte order mark is passed over."""
    assert report(b"name: d\nx: \xff") == [("syntax", "", 2, 4)]
    assert report("name: d\nx: \ud800") == [("syntax", "", 2, 4)]
    assert report(b"\xef\xbb\xbfname: d\ntasks: {a: {agent: x}}") == []


def test_yaml_has_no_surprises() -> None:
    """Words and times stay text; numbers are those of the core schema."""
    text = dedent("""\
        a: [on, off, yes, no, y, n, 22:22, 1_000, 0b1, 2020-01-01, 0777, =, <<]
        b: [true, True, false, null, ~, , 0o17, 0x1F, -3, +4, 1.5, 1e3, .5, "1", '2', 1.]
        << : text
        """).replace(", ,", ", '',")
    value, faults = read_yaml(text)
    assert faults == []
    words = ["on", "off", "yes", "no", "y", "n", "22:22", "1_000", "0b1", "2020-01-01"]
    assert value["a"] == [*words, 777, "=", "<<"]
    numbers = [15, 31, -3, 4, 1.5, 1000.0, 0.5]
    assert value["b"] == [True, True, False, None, None, "", *numbers, "1", "2", 1.0]
    assert value["<<"] == "text"


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcdef", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(PLAIN, st.booleans())
def test_json_reads_what_was_written(value: Any, ascii_only: bool) -> None:
    """Both parsers of JSON yield the value, and the placing one places every part of it."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1)
    places = Places()
    assert read_json(text) == (value, [])
    assert read_json(text, places) == (value, [])
    assert places.values[()] == (1, 1)
    for where, (line, column) in places.keys.items():
        written = text.splitlines()[line - 1][column - 1 :] if ascii_only else None
        assert written is None or written.startswith(json.dumps(where[-1]))


@given(PLAIN)
def test_yaml_reads_what_was_written(value: Any) -> None:
    """A value dumped as YAML is read back, with places or without."""
    text = yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True)
    # PyYAML writes some texts plain that only YAML 1.1 reads otherwise, and no `1e5`.
    read, faults = read_yaml(text)
    assert faults == []
    assert read == value
    assert read_yaml(text, Places()) == (value, [])


@given(st.text(max_size=60) | st.text("{}[]\",:-&*!?|># \nab1\\'", max_size=40))
def test_no_text_crashes_the_loader(text: str) -> None:
    """Whatever the text, loading yields a definition or a report with places."""
    for text_format in ("yaml", "json"):
        for fault in report(text, text_format):
            assert re.fullmatch("[a-z_]+", fault[0])
            assert fault[2] >= 0


FULL: dict[str, Any] = {
    "name": "d",
    "labels": {"a": "b"},
    "input": {"n": {"type": "integer", "default": 1}},
    "lanes": {"io": {"overflow": "redirect", "redirect_to": "/x", "rate": {"per_second": 1}}},
    "tasks": {
        "a": {
            "agent": "x",
            "with": {"n": ["${input.n}"]},
            "lane": {"name": "io", "key": "${needs}"},
        },
        "b": {"wait": "1s", "needs": ["a"], "when": "${tasks.a.result} == 1"},
        "c": {"http": {"url": "u", "expect": [200]}, "retry": {"attempts": 2, "retry_on": ["x"]}},
        "d": {"exec": ["ls"], "stdin": "${tasks.a.result}", "needs": ["b"], "timeout": 3},
        "e": {"approval": {"who": ["me"]}, "needs": ["d", "c"]},
    },
    "output": {"r": "${tasks.a.result}"},
}
SCRAPS = PLAIN | st.sampled_from(
    ["${", "${tasks.e.result}", "1s", {"a": "x"}, ["a", "b"], "io", -1]
)


def places_of(value: Any) -> list[tuple[Any, ...]]:
    """Return the path of every part of a value."""
    steps: Any = value.items() if isinstance(value, dict) else ()
    steps = enumerate(value) if isinstance(value, list) else steps
    return [()] + [(step, *path) for step, inner in steps for path in places_of(inner)]


def with_scrap(value: Any, path: tuple[Any, ...], scrap: Any) -> Any:
    """Return a copy of a value with a scrap at a path."""
    if not path:
        return scrap
    copy = value.copy()
    copy[path[0]] = with_scrap(value[path[0]], path[1:], scrap)
    return copy


@given(st.lists(st.tuples(st.sampled_from(places_of(FULL)), SCRAPS), max_size=3))
def test_no_value_crashes_the_checks(scraps: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Whatever stands where, the result is a definition that compiles, or a placed report."""
    raw: Any = FULL
    for path, scrap in scraps:
        if path in places_of(raw):
            raw = with_scrap(raw, path, scrap)
    try:
        definition = load_definition(json.dumps(raw, indent=1), "json")
    except InvalidDefinition as error:
        lines = [fault.line for fault in error.faults]
    else:
        assert compile_plan(definition).name == raw["name"]
        return
    assert lines
    assert min(lines) > 0


@pytest.mark.parametrize("name", [name for name in TABLE if name != "broken syntax"])
def test_without_libyaml_the_report_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pure parser, where libyaml is not built in, places the same faults."""
    monkeypatch.setattr(yaml_source, "_Loader", yaml.SafeLoader)
    text, expected = _expected(name)
    assert report(text) == expected


def test_a_file_is_read_by_what_it_is(tmp_path: Path) -> None:
    """`.json` is JSON, `.yaml` and `.yml` are YAML, anything else by its first character."""
    body = {"name": "d", "tasks": {"a": {"agent": "x"}}}
    for name in ("w.json", "w.yaml", "w.yml", "w.txt"):
        (tmp_path / name).write_text(json.dumps(body))
        assert load_definition_file(tmp_path / name).name == "d"
    (tmp_path / "plain").write_text("name: d\ntasks: {a: {agent: x}}\n")
    assert load_definition_file(str(tmp_path / "plain")).name == "d"


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """A missing file, and a folder, are named with the reason."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InvalidDefinition, match=re.escape(str(path))) as caught:
            load_definition_file(path)
        assert [fault.code for fault in caught.value.faults] == ["unreadable"]


def test_a_report_is_bounded_but_the_faults_are_not() -> None:
    """The message names fifty faults and counts the rest; `faults` holds all of them."""
    tasks = "".join(f"  t{i}: {{agent: x, needs: [nope{i}]}}\n" for i in range(200))
    with pytest.raises(InvalidDefinition) as caught:
        load_definition(HEAD + tasks)
    assert len(caught.value.faults) == 200
    assert "and 150 more" in str(caught.value)
    assert isinstance(caught.value.faults[0], Fault)
