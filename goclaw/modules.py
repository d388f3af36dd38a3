"""Import the modules that register agents: those that the operator names, and no others."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from goclaw.errors import GoclawError
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from goclaw_actors.executors.agents import AgentRegistry

_REGISTERS: Final = re.compile(r"^[ \t]*@[\w.]*agent\b|\bagent\(", re.MULTILINE)
OWN: Final = {"demo.": "goclaw.demo.agents"}
"""Modules of Goclaw itself with agents, by the beginning of their names."""
_OURS: Final = {"goclaw", "goclaw_actors", "importlib"}
"""Whose lines are not what is wrong with a module: they say it."""
_CHARS_MAX: Final = 1024 * 1024
_MODULES: Final[dict[str, None]] = {}
_FOLDERS: Final[dict[str, None]] = {}


class ModuleFailed(GoclawError):
    """A module with agents cannot be imported."""

    code = "module_failed"


def load_modules(names: Iterable[str], trusted: Path | None = None) -> list[str]:
    """Import modules by name, and the files with agents in the folder `trusted`; return the names.

    Both the current directory (as `python -m` does) and the folder (as `python FILE` does) come
    first on `sys.path`. Raises `ModuleFailed` with what the import raised.
    """
    named = list(dict.fromkeys(names))
    if named:
        _put_first(Path.cwd())
    for name in named:
        _import(name)
    _MODULES.update(dict.fromkeys(named))
    if trusted is None:
        return named
    folder = trusted.resolve()
    _put_first(folder)
    found = named + [_import_file(path) for path in agent_files(folder)]
    _FOLDERS[str(folder)] = None
    return found


def load_own(agents: Iterable[str], registry: AgentRegistry) -> None:
    """Import those of Goclaw's own modules that register agents with such names.

    Not where somebody else's agents have names that begin so.
    """
    wanted, known = list(agents), registry.names()
    for begins, module in OWN.items():
        if any(name.startswith(begins) for name in wanted) and not any(
            name.startswith(begins) for name in known
        ):
            _import(module)
            _MODULES[module] = None


def loaded() -> tuple[list[str], list[str]]:
    """Return the modules and the trusted folders that were loaded here, for worker processes."""
    return list(_MODULES), list(_FOLDERS)


def agent_files(folder: Path) -> list[Path]:
    """Return the Python files directly in a folder that say `goclaw` and register an agent."""
    return [path for path in sorted(folder.glob("*.py")) if _registers_agents(path)]


def _registers_agents(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_CHARS_MAX)
    except OSError:
        return False
    return "goclaw" in text and _REGISTERS.search(text) is not None


def _put_first(folder: Path) -> None:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    # a file that was written since the folder was last looked at
    importlib.invalidate_caches()


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        msg = f"there is no module {name!r}"
        hint = "name it as `python -m` does, in the current directory or installed"
        if name.endswith(".py"):
            hint = f"name it without its ending: {name.removesuffix('.py').replace('/', '.')}"
        raise ModuleFailed(msg, hint=hint, module=name) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _import_file(path: Path) -> str:
    """Import a file under its own name, or under another one where that name is taken."""
    name = path.stem
    taken = sys.modules.get(name)
    if taken is not None:
        if _is_from(taken, path):
            return name
        name = f"{name}@{path.parent}"
        if name in sys.modules:
            return name
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(str(path), error) from error
    return name


def _is_from(module: ModuleType, path: Path) -> bool:
    source = getattr(module, "__file__", None)
    return source is not None and Path(source).resolve() == path


def _failed(name: str, error: BaseException) -> ModuleFailed:
    place = ""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _OURS:
            place = f" ({frame.f_code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "a module with agents must be importable without running anything; see `--debug`"
    if isinstance(error, CodedError):
        what, hint = f"{error.message} [{error.code}]", error.hint
    return ModuleFailed(f"importing {name} failed: {what}{place}", hint=hint, module=name)
