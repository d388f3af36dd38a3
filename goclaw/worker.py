"""The process of a worker: find agents where the engine found its own, and serve it.

Started by the engine's launcher as `python -m goclaw.worker`, with two sockets as files 3 and 4.
What is imported is what the engine itself has imported: its operator's modules, and the ones in
which its agents were defined. A task says only the name of an agent.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from goclaw.agents import REGISTRY
from goclaw.modules import ModuleFailed, load_modules
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.children.wire import READ_BYTES, Frames
from goclaw_actors.executors.crew import reference_of
from goclaw_actors.executors.errors import AgentUnknown
from goclaw_actors.executors.worker import CONTROL_FD, WORK_FD, Noticed, Worker
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from goclaw_actors.executors.agents import Agent

MAIN: Final = "__main__"
_MAIN_HERE: Final = "__goclaw_main__"
_log = logging.getLogger(__name__)


class Finder:
    """Find agents by name. `modules` and `trusted` are what the engine was told to import."""

    def __init__(self, modules: Sequence[str], trusted: Sequence[str]) -> None:
        self._modules = modules
        self._trusted = trusted
        self._own = AgentRegistry()
        self._found: dict[str, tuple[list[str], Agent]] = {}

    def find(self, name: str, reference: Sequence[str]) -> Agent:
        """Return an agent, defined at `reference`; raises `AgentUnknown`, `ModuleFailed`."""
        known = self._found.get(name)
        if known is not None and known[0] == reference:
            return known[1]
        agent = self._registered(name, reference)
        if agent is None:
            module = import_for(reference)
            agent = self._registered(name, reference) or self._defined(name, module, reference)
        if agent is None:
            self._load_all()
            agent = self._registered(name, reference)
        if agent is None:
            raise AgentUnknown(
                f"a worker process finds no agent {name!r}: {'.'.join(reference[:2])} is not there",
                hint="define it at the top of a module that can be imported",
                agent=name,
            )
        self._found[name] = (list(reference), agent)
        return agent

    def _registered(self, name: str, reference: Sequence[str]) -> Agent | None:
        agent = REGISTRY.get(name)
        if agent is None:
            return None
        module, within, file = reference_of(agent)
        if within != reference[1] or (module != reference[0] and file != reference[2]):
            return None  # the engine has another registry, with another agent of this name
        return agent

    def _defined(
        self, name: str, module: ModuleType | None, reference: Sequence[str]
    ) -> Agent | None:
        """Return what stands in a module under the name that the engine's function has."""
        found: Any = module
        for step in reference[1].split("."):
            found = getattr(found, step, None)
        if not callable(found):
            return None
        options = getattr(found, "__goclaw_options__", None)
        return self._own.register(name, found, options=options, builtin=True)

    def _load_all(self) -> None:
        load_modules(self._modules)
        for folder in self._trusted:
            load_modules((), Path(folder))


def import_for(reference: Sequence[str]) -> ModuleType | None:
    """Import the module in which an agent of the engine was defined; raises `ModuleFailed`."""
    name, _, file = reference
    try:
        if name != MAIN:
            return importlib.import_module(name)
    except ModuleNotFoundError:
        pass  # its file may be there, though not on the path
    except (Exception, SystemExit) as error:
        msg = f"importing {name} in a worker process failed: {type(error).__name__}: {error}"
        raise ModuleFailed(msg, hint="it must be importable without running anything") from error
    return _import_file(_MAIN_HERE if name == MAIN else name, file)


def _import_file(name: str, file: str) -> ModuleType | None:
    if name in sys.modules:
        return sys.modules[name]
    if not file.endswith(".py") or not Path(file).is_file():
        return None
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        msg = f"importing {file} in a worker process failed: {type(error).__name__}: {error}"
        hint = "run the engine under `if __name__ == '__main__':`, and define agents above it"
        raise ModuleFailed(msg, hint=hint) from error
    return module


def main() -> None:
    """Serve the engine at the other end of the inherited sockets."""
    work = socket.socket(fileno=WORK_FD)
    control = socket.socket(fileno=CONTROL_FD)
    for end in (work, control):
        end.set_inheritable(False)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name).detach()
        noticed = Noticed(stream, "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, noticed)
    setup = _first_message(work)
    sys.path[:] = setup["path"]
    sys.argv[:] = setup["argv"]
    logging.getLogger().setLevel(setup["log_level"])
    finder = Finder(setup["modules"], setup["trusted"])
    for name, reference in setup["agents"].items():
        try:
            finder.find(name, reference)
        except CodedError as error:
            _log.warning("%s", error)  # and again by the task that needs it
    Worker(work, control, finder.find, setup["cpu_s_max"]).serve()


def _first_message(work: socket.socket) -> dict[str, Any]:
    """Read one message and no more: what follows is for the worker."""
    frames = Frames()
    while True:
        data = work.recv(READ_BYTES)
        if not data:
            sys.exit(0)
        for message in frames.feed(data):
            return cast("dict[str, Any]", message)


if __name__ == "__main__":
    # Under its own name: what agents import must be the module that serves them.
    from goclaw.worker import main as serve

    serve()
