"""Which Python the environment is made with."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Protocol

import pytest

from goclaw.bench import interpreter

_CHOICE = Path(__file__).parents[1] / "scripts" / "python.sh"


class _Add(Protocol):
    def __call__(self, name: str, *, fits: bool, optimised: bool) -> str: ...


def _chosen(path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the choice with the interpreters of two folders below `path`."""
    found = f"{path / 'a'}:{path / 'b'}:{os.defpath}"
    return subprocess.run(
        ["bash", str(_CHOICE)],
        env={"PATH": found, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def add(tmp_path: Path) -> _Add:
    """Add a Python of a name: whether it fits, and whether it was built with a profile."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()

    def made(name: str, *, fits: bool, optimised: bool) -> str:
        file = tmp_path / name
        file.write_text(
            f"#!/bin/sh\n[ $1 = -c ] && exit {int(not fits)}\nexit {int(not optimised)}\n"
        )
        file.chmod(0o755)
        return str(file)

    return made


def test_one_built_with_a_profile_is_taken_before_others(tmp_path: Path, add: _Add) -> None:
    """It may stand behind another one of its name on the path."""
    add("a/python3.13", fits=True, optimised=False)
    best = add("b/python3.13", fits=True, optimised=True)
    assert _chosen(tmp_path).stdout.strip() == best


def test_one_that_does_not_fit_is_passed_over(tmp_path: Path, add: _Add) -> None:
    """An old one, or one without venv, is not taken, however it was built."""
    add("a/python3.13", fits=False, optimised=True)
    best = add("b/python3.12", fits=True, optimised=True)
    assert _chosen(tmp_path).stdout.strip() == best


def test_the_one_that_is_named_is_taken(tmp_path: Path, add: _Add) -> None:
    """Whoever says PYTHON gets it, though there are faster ones, or hears that it does not fit."""
    add("a/python3.13", fits=True, optimised=True)
    plain = add("b/plain", fits=True, optimised=False)
    old = add("b/old", fits=False, optimised=True)
    assert _chosen(tmp_path, PYTHON=plain).stdout.strip() == plain
    refused = _chosen(tmp_path, PYTHON=old)
    assert refused.returncode == 1
    assert "PYTHON=" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "flags", "schemes", "optimised"),
    [
        ("'--enable-shared'", "-O3", ("posix_prefix",), False),
        ("'--enable-optimizations' '--with-lto'", "-O3", ("posix_prefix",), True),
        ("", "-O2 -fprofile-use -fprofile-correction", ("posix_prefix",), True),
        ("", "-O2", ("posix_prefix", "deb_system"), True),
        (None, None, (), False),
    ],
)
def test_an_interpreter_says_how_it_was_built(
    arguments: str | None,
    flags: str | None,
    schemes: tuple[str, ...],
    optimised: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its configuration, its flags, or as a package of Debian."""
    said = {"CONFIG_ARGS": arguments, "PY_CORE_CFLAGS": flags}
    monkeypatch.setattr(sysconfig, "get_config_var", said.get)
    monkeypatch.setattr(sysconfig, "get_scheme_names", lambda: schemes)
    assert interpreter.is_optimised() is optimised
