"""Modules with agents: which are imported, and what is said when one cannot be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from goclaw.agents import REGISTRY
from goclaw.modules import ModuleFailed, agent_files, load_modules

if TYPE_CHECKING:
    from pathlib import Path


def agent_source(name: str) -> str:
    """Return a file that registers one agent."""
    return f"import goclaw\n\n@goclaw.agent({name!r})\ndef work(ctx):\n    return {name!r}\n"


def test_modules_come_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, in packages too; once, however often they are named."""
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "__init__.py").write_text("")
    (tmp_path / "team" / "readers.py").write_text(agent_source("here.read"))
    monkeypatch.chdir(tmp_path)
    assert load_modules(["team.readers", "team.readers"]) == ["team.readers"]
    assert REGISTRY.get("here.read") is not None
    assert sys.path[0] == str(tmp_path)


def test_only_files_that_register_agents_are_trusted(tmp_path: Path) -> None:
    """Beside the workflow file; not below, and no script that merely stands there."""
    (tmp_path / "agents.py").write_text(agent_source("a.one"))
    (tmp_path / "two-words.py").write_text(
        "from goclaw import agent\nfrom shared import NAME\n\n"
        "@agent(NAME)\ndef work(ctx):\n    return 1\n"
    )
    (tmp_path / "shared.py").write_text("NAME = 'a.two'\n")
    (tmp_path / "script.py").write_text("raise SystemExit('must not run')\n")
    (tmp_path / "notes.txt").write_text("@goclaw.agent")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "more.py").write_text(agent_source("a.three"))
    assert [path.name for path in agent_files(tmp_path)] == ["agents.py", "two-words.py"]
    assert load_modules([], tmp_path) == ["agents", "two-words"]
    assert [REGISTRY.get(name) is not None for name in ("a.one", "a.two", "a.three")] == [
        True, True, False,
    ]  # fmt: skip
    assert load_modules([], tmp_path) == ["agents", "two-words"]


def test_files_of_the_same_name_do_not_hide_each_other(tmp_path: Path) -> None:
    """Two trusted folders may both have an agents.py, and one may be called as a known module."""
    for folder in ("red", "blue"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "json.py").write_text(agent_source(f"{folder}.work"))
        load_modules([], tmp_path / folder)
        load_modules([], tmp_path / folder)
        assert REGISTRY.get(f"{folder}.work") is not None
    assert "loads" in vars(sys.modules["json"])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import goclaw\n1 / 0  # agent()\n", "ZeroDivisionError: division by zero"),
        ("import goclaw  # agent()\nraise SystemExit\n", "SystemExit"),
        ("import goclaw, no_such_thing  # agent()\n", "No module named 'no_such_thing'"),
        ("goclaw agent( is not Python\n", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str
) -> None:
    """With what it raised, whichever way it was asked for; it may be mended and tried again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(source)
    for trusted in (None, tmp_path):
        with pytest.raises(ModuleFailed, match="broken") as caught:
            load_modules(["broken"] if trusted is None else [], trusted)
        assert says in caught.value.message
        assert "broken" not in sys.modules
    assert (
        "broken.py:2" in caught.value.message
        or "line 1" in caught.value.message
        or ("broken.py:1" in caught.value.message)
    )


def test_an_agent_that_cannot_be_one_is_named_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refuses it says why and what to do; its own lines are not the place."""
    monkeypatch.chdir(tmp_path)
    source = 'import goclaw\n@goclaw.agent("t.gen")\ndef gen(ctx):\n    yield 1\n'
    (tmp_path / "generates.py").write_text(source)
    with pytest.raises(ModuleFailed, match="generator \\[agent_invalid\\]") as caught:
        load_modules(["generates"])
    assert "generates.py:2)" in caught.value.message
    assert caught.value.hint.startswith("return the result")


@pytest.mark.parametrize(
    ("name", "hint"), [("missing", "current directory"), ("a/b.py", "without its ending: a.b")]
)
def test_a_module_that_is_not_there_is_not_there(name: str, hint: str) -> None:
    """The hint says how modules are named."""
    with pytest.raises(ModuleFailed, match="there is no module") as caught:
        load_modules([name])
    assert hint in caught.value.hint
