"""The demo: what it measures is right, and the team works as one workflow."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from goclaw.cli import main
from goclaw.demo.outline import Unreadable, outline
from goclaw.demo.workflow import build, packages_of, standard_library
from goclaw.errors import EXIT_INTERRUPTED, EXIT_NOT_FOUND
from goclaw.foreground import INTERRUPTED, Ending
from tests.goclaw.processes import last_json, read_until, start

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw.config import Settings

SOURCE = b'''"""A module."""
import os.path
from json import loads
from . import sibling


class Shape:
    """A shape."""

    def area(self, a, b):
        """Return it."""
        if a and b or not a:
            return [x for x in (a, b) if x]
        for _ in range(3):
            try:
                pass
            except ValueError:
                pass
        return a if b else 0


async def bare(flag):
    def inner():
        while flag:
            pass
    return inner
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a source tree: two packages, two modules, a broken file, tests, hidden things."""
    root = tmp_path / "src"
    for name, text in {
        "app.py": SOURCE.decode(),
        "tool.py": "import app\nimport shapes\n",
        "shapes/__init__.py": "import app\n",
        "shapes/circle.py": "def area(r):\n    return r\n" * 12,
        "shapes/deep/x.py": "import os\n",
        "broken/no.py": "def (:\n",
        "tests/test_app.py": "raise SystemExit\n",
        ".hidden/x.py": "x = 1\n",
        "notes.txt": "import app\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_an_outline_counts_ways_through_each_function() -> None:
    """Complexity is 1 and 1 for each branch; nested functions count for themselves."""
    found = outline(SOURCE)
    functions = {function.name: function for function in found.functions}
    # if, or, and, comprehension, for, except, conditional
    assert functions["Shape.area"].complexity == 8
    assert functions["bare"].complexity == 1
    assert functions["bare.inner"].complexity == 2
    assert (functions["Shape.area"].line, functions["Shape.area"].lines) == (10, 10)
    assert [functions[name].is_documented for name in ("Shape.area", "bare")] == [True, False]
    assert (found.classes, found.imports, found.lines) == (1, ["json", "os"], 27)


@pytest.mark.parametrize("source", [b"def (:", b"x = '\x00'", b"(" * 10_000, b" " * 5_000_000])
def test_what_is_not_python_is_unreadable(source: bytes) -> None:
    """Whatever the parser raises, it is one error with a reason."""
    with pytest.raises(Unreadable, match=r"\w"):
        outline(source)


def test_packages_are_folders_and_the_modules_of_the_root(tree: Path) -> None:
    """Tests, hidden folders and other files are left out."""
    assert packages_of(tree) == {
        "app": ["app.py"],
        "broken": ["broken/no.py"],
        "shapes": ["shapes/__init__.py", "shapes/circle.py"],
        "shapes.deep": ["shapes/deep/x.py"],
        "tool": ["tool.py"],
    }


def test_many_packages_are_taken_together(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is lost by it."""
    monkeypatch.setattr("goclaw.demo.workflow.PACKAGES_MAX", 3)
    found = packages_of(tree)
    assert set(found) == {"a", "b", "s", "t"}
    assert sum(map(len, found.values())) == 6


def test_the_standard_library_is_some_hundred_tasks() -> None:
    """The default is real source, and its plan compiles."""
    root = standard_library()
    packages = packages_of(root)
    assert "asyncio" in packages
    assert 100 < len(build(root, packages).plan().tasks) < 600


def test_the_team_audits_a_tree(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every agent does its part; the report has the findings as data and as a text."""
    data = ["--data-dir", str(tmp_path / "data")]
    assert main(["demo", str(tree), *data, "--json"]) == 0
    out = capsys.readouterr()
    record = last_json(out.out)
    result = record["result"]
    assert {task["status"] for task in record["tasks"].values()} == {"completed"}
    assert len(record["tasks"]) == 1 + 2 * 5 + 5
    totals = result["totals"]
    assert (totals["files"], totals["packages"], totals["functions"]) == (6, 5, 15)
    assert (totals["documented"], totals["classes"]) == (1, 1)
    assert [broken[0] for broken in totals["broken"]] == ["broken/no.py"]
    assert result["complex"][0]["name"] == "Shape.area"
    assert result["imported"] == [
        {"package": "app", "imported_by": 2},
        {"package": "shapes", "imported_by": 1},
    ]
    assert result["undocumented"] == [{"package": "shapes", "share": 0.0, "functions": 12}]
    assert "runs show" in out.err
    assert main(["demo", str(tree), *data]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Audit of {tree}")
    assert "Shape.area" in shown
    assert "1 files could not be parsed" in shown


def test_the_team_audits_a_tree_in_processes(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--process` nothing is parsed in this process: what is broken here is whole there."""
    monkeypatch.setattr("goclaw.demo.agents.outline", None)
    data = ["--data-dir", str(tmp_path / "data")]
    assert main(["demo", str(tree), *data, "--process", "--json"]) == 0
    record = last_json(capsys.readouterr().out)
    assert {task["status"] for task in record["tasks"].values()} == {"completed"}
    assert record["result"]["totals"]["functions"] == 15


def test_a_killed_audit_is_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has to know in which module the agents of the demo are."""
    data = ["--data-dir", str(tmp_path / "data")]
    process = start(tmp_path, "demo", str(standard_library() / "asyncio"), *data)
    assert process.stderr is not None
    read_until(process.stderr, b"tasks")
    process.kill()
    process.communicate(timeout=60)
    assert main(["runs", "list", *data, "--json"]) == 0
    (left,) = last_json(capsys.readouterr().out)
    assert left["status"] == "running"
    resumed = start(tmp_path, "resume", *data, "--json")
    out, err = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, err
    assert last_json(out) == {"resumed": [{"run_id": left["run_id"], "status": "completed"}]}


def test_without_python_there_is_nothing_to_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3, and no data directory is made."""
    (tmp_path / "empty").mkdir()
    code = main(["demo", str(tmp_path / "empty"), "--data-dir", str(tmp_path / "d"), "--json"])
    assert (code, last_json(capsys.readouterr().out)["error"]["code"]) == (3, "not_found")
    assert not (tmp_path / "d").exists()


def test_what_goes_on_with_it_keeps_the_processes(
    tree: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted, `--process` stands in the line that is printed, and `resume` takes it."""
    modes = []

    def interrupted(settings: Settings, *_: object) -> Ending:
        modes.append(settings.executors.sync_agents)
        return Ending([{"run_id": "r", "status": "running"}], INTERRUPTED)

    monkeypatch.setattr("goclaw.foreground.run_in_foreground", interrupted)
    data = ["--data-dir", str(tmp_path / "d")]
    lines = []
    for words in (["--process"], []):
        assert main(["demo", str(tree), *data, *words]) == EXIT_INTERRUPTED
        lines.append(shlex.split(capsys.readouterr().err.splitlines()[-1]))
    assert modes == ["process", "thread"]
    assert lines[0] == [*lines[1], "--process"]
    assert main(lines[0][1:]) == EXIT_NOT_FOUND  # it is understood; there is no log
    assert "error[not_found]" in capsys.readouterr().err
