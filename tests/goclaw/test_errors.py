"""Errors at the edges: every code has its meaning."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from goclaw.errors import BUG, MEANINGS, meaning_of
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("goclaw", "goclaw_actors", "goclaw_events", "goclaw_projections")
EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 7, 130}
GRPC_CODES = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}  # fmt: skip


def every_error() -> Iterator[type[CodedError]]:
    """Import the whole house and yield each class of error in it."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, name + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting = [CodedError]
    while waiting:
        error = waiting.pop()
        if error.__module__.split(".")[0] in PACKAGES:
            yield error
        waiting += error.__subclasses__()


def test_every_code_has_a_meaning() -> None:
    """Every code of every error in the house stands in the one table."""
    missing = {e.code: e.__qualname__ for e in every_error() if e.code not in MEANINGS}
    assert missing == {}


def refusals() -> Iterator[str]:
    """Yield each code that some code of the house hands to `Refused(...)`."""
    for name in PACKAGES:
        for path in Path(importlib.import_module(name).__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Name(id="Refused"), args=[ast.Constant(value=str(code)), *_]
                    ):
                        yield code


def test_every_refusal_has_a_meaning() -> None:
    """A decider refuses with a code that stands in the one table."""
    assert [code for code in refusals() if code not in MEANINGS] == []


def test_every_error_says_what_it_is() -> None:
    """Every error has a docstring of its own and a code of small letters."""
    for error in every_error():
        assert error.__dict__.get("__doc__"), error
        assert error.code.replace("_", "").isalnum(), error
        assert error.code == error.code.lower(), error


@pytest.mark.parametrize(("code", "meaning"), MEANINGS.items())
def test_every_meaning_is_one_that_the_edges_know(code: str, meaning: object) -> None:
    """Exit codes are the documented ones; HTTP and gRPC statuses exist."""
    assert meaning == meaning_of(code)
    assert MEANINGS[code].exit_code in EXIT_CODES
    assert 400 <= MEANINGS[code].http < 600
    assert MEANINGS[code].grpc in GRPC_CODES


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("run_failed", 1),
        ("invalid_definition", 2),
        ("invalid_config", 2),
        ("run_not_found", 3),
        ("timeout", 4),
        ("engine_running", 5),
        ("log_damaged", 6),
        ("command_conflict", 7),
    ],
)
def test_exit_codes_are_the_documented_ones(code: str, exit_code: int) -> None:
    """The exit codes that scripts rely on do not move."""
    assert meaning_of(code).exit_code == exit_code


def test_an_unknown_code_is_a_fault_of_ours() -> None:
    """A code without a row is reported as a bug, never as success."""
    assert meaning_of("no_such_code") == BUG
