"""The house itself: its floors, its limits, its forbidden words."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FLOORS = {
    "events": "goclaw_events",
    "actors": "goclaw_actors",
    "projections": "goclaw_projections",
    "goclaw": "goclaw",
}
PACKAGES = [
    ROOT / (floor if floor == name else f"{floor}/{name}") for floor, name in FLOORS.items()
]
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
LINES_MAX = 500
FUNCTION_LINES_MAX = 70
FORBIDDEN_MODULES = {"marshal", "pickle", "shelve"}
FORBIDDEN_CALLS = {
    "__import__",
    "eval",
    "exec",
    "os.popen",
    "os.system",
    "yaml.load",
    "yaml.load_all",
}
NAMES_NOT_USED = {"manager", "helper", "helpers", "util", "utils", "common", "misc"}
HOSTS = [
    f"{name}.{top}"
    for name, top in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("debian", "org"),
    )
]
KINDS = {"", ".cfg", ".json", ".lock", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml"}
NOT_OURS = {"__pycache__", "build", "coverage.json", "dist", "node_modules", "uv.lock"}


def relative(path: Path) -> str:
    """Return the name of a file as seen from the root."""
    return path.relative_to(ROOT).as_posix()


def kept_files() -> list[Path]:
    """Return the files of text that are, or would be, committed."""
    found = []
    for directory, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f == ".ci" or (f[0] != "." and f not in NOT_OURS)]
        files = [Path(directory) / n for n in names if n == ".gitignore" or n[0] != "."]
        found += [f for f in files if f.suffix in KINDS and f.name not in NOT_OURS]
    return sorted(found)


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of a copy of the house."""
    paths = [tree, *(tree / floor for floor in FLOORS)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(
        command, cwd=tree, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(name="copied_house")
def _copied_house(tmp_path: Path) -> Path:
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, tmp_path / package.relative_to(ROOT), ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_hold(copied_house: Path) -> None:
    """Imports go down, and deciders are pure."""
    result = lint_imports(copied_house)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("events/goclaw_events/planted.py", "import goclaw_actors"),
        ("actors/goclaw_actors/planted.py", "import goclaw.errors"),
        ("actors/goclaw_actors/planted.py", "import goclaw_projections"),
        ("projections/goclaw_projections/planted.py", "import goclaw_actors"),
        ("actors/goclaw_actors/task/planted.py", "import time"),
        ("actors/goclaw_actors/decider.py", "import uuid"),
    ],
)
def test_a_planted_import_breaks_a_contract(copied_house: Path, place: str, line: str) -> None:
    """An import that goes up or sideways, and a clock in a decider, are found."""
    planted = copied_house / place
    before = planted.read_text(encoding="utf-8") if planted.exists() else ""
    planted.write_text(f"{before}\n{line}\n", encoding="utf-8")
    result = lint_imports(copied_house)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 kept, 1 broken" in result.stdout


@pytest.mark.parametrize("floor", FLOORS)
def test_each_floor_says_what_it_is(floor: str) -> None:
    """Each floor has a README, and its package carries its types."""
    readme = (ROOT / floor / "README.md").read_text(encoding="utf-8")
    for heading in ("## What lives here", "## What may be imported", "## Where to start reading"):
        assert heading in readme
    package = ROOT / floor if floor == FLOORS[floor] else ROOT / floor / FLOORS[floor]
    assert (package / "py.typed").exists()


def test_the_files_that_readmes_name_exist() -> None:
    """A README of a floor names only files that are there."""
    missing = []
    for floor, name in FLOORS.items():
        package = ROOT / floor if floor == name else ROOT / floor / name
        text = (ROOT / floor / "README.md").read_text(encoding="utf-8")
        order = text.partition("## Where to start reading")[2]
        names = re.findall(r"`([\w./]+(?:\.py|/))`", order)
        missing += [f"{floor}: {item}" for item in names if not (package / item).exists()]
    assert missing == []


def test_no_file_is_too_long() -> None:
    """A file holds one noun; none has more than 500 lines."""
    lengths = {relative(path): path.read_text(encoding="utf-8").count("\n") for path in SOURCES}
    assert {name: n for name, n in lengths.items() if n > LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    """A function reads at one glance."""
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{relative(path)}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def test_no_module_has_an_empty_name() -> None:
    """No module is called for what it is not: manager, helper, util, common."""
    assert [relative(p) for p in SOURCES if p.stem in NAMES_NOT_USED] == []


def forbidden(node: ast.AST) -> str:
    """Name what is not done in this house: run text as code, unpickle, start a shell."""
    match node:
        case ast.Import(names=names):
            return next((n.name for n in names if n.name in FORBIDDEN_MODULES), "")
        case ast.ImportFrom(module=str(module)):
            return module if module in FORBIDDEN_MODULES else ""
        case ast.Call(func=function) if ast.unparse(function) in FORBIDDEN_CALLS:
            return ast.unparse(function)
        case ast.keyword(arg="shell", value=ast.Constant(value=True)):
            return "shell=True"
        case ast.Raise(exc=ast.Name(id="NotImplementedError")):
            return "NotImplementedError"
    return ""


def test_the_search_for_forbidden_calls_finds_them() -> None:
    """Each forbidden form is recognised."""
    text = "import pickle\neval('1')\nyaml.load(f)\nrun(a, shell=True)\nos.system('x')\n"
    found = {forbidden(node) for node in ast.walk(ast.parse(text))} - {""}
    assert found == {"pickle", "eval", "yaml.load", "shell=True", "os.system"}


def test_nothing_forbidden_is_called() -> None:
    """No text is run as code, nothing is unpickled, no shell is started, nothing is left open."""
    found = []
    for path in [*SOURCES, *sorted((ROOT / "scripts").glob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        found += [
            f"{relative(path)}:{getattr(node, 'lineno', 0)} {name}"
            for node in ast.walk(ast.parse(text))
            if (name := forbidden(node))
        ]
        if re.search(r"\b(TODO|FIXME|XXX)\b", text):
            found.append(f"{relative(path)} leaves work open")
    assert found == []


def test_no_file_names_a_package_registry() -> None:
    """Where packages are fetched from is the machine's to say, not ours."""
    found = [
        f"{relative(path)}: {host}"
        for path in kept_files()
        for host in HOSTS
        if host in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_the_lock_holds_what_the_project_asks_for() -> None:
    """Every dependency is locked by one version and by hashes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", lock)
    locked = {entry.partition("==")[0]: entry.count("--hash=sha256:") for entry in entries}
    names = {re.split(r"[\[>=< ]", entry)[0].lower() for entry in asked}
    assert names - locked.keys() == set()
    assert [name for name, hashes in locked.items() if not hashes] == []


def test_an_image_installs_a_part_of_what_was_tested() -> None:
    """requirements.run.lock names nothing that requirements.lock does not, in no other version."""
    versions = re.compile(r"^([\w.-]+==\S+)", re.MULTILINE)
    tested = set(versions.findall((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    installed = set(versions.findall((ROOT / "requirements.run.lock").read_text(encoding="utf-8")))
    assert installed < tested
    assert {name.partition("==")[0] for name in installed} >= {"click", "pykka", "rocksdict"}


def test_the_wheel_holds_the_four_packages(tmp_path: Path) -> None:
    """One distribution installs the four packages under names of their own, and nothing else."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        assert "goclaw_events/py.typed" in archive.namelist()
    assert {top for top in tops if not top.endswith(".dist-info")} == set(FLOORS.values())


def test_the_reference_is_what_the_code_says() -> None:
    """The generated parts of the reference are up to date: run scripts/reference.py."""
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in a Markdown file names something that is there."""
    links = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")
    broken = [
        f"{relative(path)}: {target}"
        for path in kept_files()
        if path.suffix == ".md"
        for target in links.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert broken == []


def test_the_image_runs_as_nobody_in_particular() -> None:
    """It is built in stages, what it copies is there, and its commands are commands of ours."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    words = [(name, rest) for name, rest in lines if name.isupper()]
    stages = [at for at, (name, _) in enumerate(words) if name == "FROM"]
    assert len(stages) == 2
    users = [rest for name, rest in words[stages[-1] :] if name == "USER"]
    assert users[-1] not in ("", "root", "0")
    shown = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for _, rest in [word for word in words if word[0] == "COPY" and "--from" not in word[1]]:
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in shown
    commands = re.findall(r"^(?:CMD|HEALTHCHECK .* CMD) (\[.*\])", text, re.MULTILINE)
    assert [json.loads(c)[-2:] for c in commands] == [["engine", "status"], ["engine", "start"]]
    for command in commands:
        subprocess.run(
            [str(Path(sys.executable).parent / "goclaw"), *json.loads(command)[-2:], "--help"],
            check=True,
            capture_output=True,
            timeout=60,
        )


def test_ci_runs_the_scripts_that_a_contributor_runs() -> None:
    """The workflow of the code host calls `.ci/run`, which calls `scripts/test.sh`, and no more."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text(encoding="utf-8"))["jobs"]
    steps = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    assert steps == ["bash .ci/run"]
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last == "exec bash scripts/test.sh"
