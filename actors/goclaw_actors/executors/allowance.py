"""Which programs tasks may run, and what these find around them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from goclaw_actors.executors.errors import ExecNotAllowed, ProgramNotFound
from goclaw_events.ids import plain_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from goclaw_actors.work import StartAttempt

ANY: Final = "*"
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_HINT: Final = (
    "the operator allows programs: executors.exec.allow: [NAME or /PATH, ...], or --allow-exec "
    "for all of them"
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What tasks may run: `programs` by name or absolute path (`*`: any); nothing by default.

    `environment` names the variables that are handed on. A name is looked up along the PATH that
    programs get. An allowed path may also be called by its name, if that leads to it; an allowed
    name may not be called by a path.
    """

    programs: tuple[str, ...] = ()
    environment: tuple[str, ...] = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")

    def check(self, program: str) -> None:
        """Raise `ExecNotAllowed` unless a task may run `program`."""
        if ANY in self.programs or program in self.programs:
            return
        found = "" if "/" in program else self._found(program)
        if found and found in self.programs:
            return
        known = f"allowed are {', '.join(self.programs)}" if self.programs else "none is allowed"
        msg = f"program {program!r} is not allowed to be run: {known}"
        raise ExecNotAllowed(msg, hint=_HINT, program=program)

    def locate(self, program: str, folder: str) -> str:
        """Return the file to execute; raises `ExecNotAllowed`, `ProgramNotFound`."""
        self.check(program)
        found = self._found(program, folder)
        if not found:
            where = "" if "/" in program else " on the PATH of the engine"
            msg = f"there is no program {program!r} that can be executed{where}"
            hint = "name it by its absolute path, or install it"
            raise ProgramNotFound(msg, hint=hint, program=program, path=self._path())
        return found

    def variables(self, attempt: StartAttempt) -> dict[str, str]:
        """Return the whole environment of a program: what is handed on, and whose work it is."""
        passed = {name: os.environ[name] for name in self.environment if name in os.environ}
        passed.setdefault("PATH", _PATH)
        return passed | {
            "GOCLAW_RUN_ID": plain_id(attempt.run_id),
            "GOCLAW_TASK_ID": attempt.task_id,
            "GOCLAW_ATTEMPT": str(attempt.attempt),
            "GOCLAW_IDEMPOTENCY_KEY": attempt.idempotency_key,
        }

    def refused(self, programs: Mapping[str, str]) -> Iterable[tuple[str, ExecNotAllowed]]:
        """Yield what is not allowed of programs by task; templates are judged when they run."""
        for task_id, program in programs.items():
            try:
                self.check(program)
            except ExecNotAllowed as error:
                yield task_id, error

    def _found(self, program: str, folder: str = "") -> str:
        if "/" in program:
            path = os.path.normpath(Path(folder or ".", program))
            return path if os.access(path, os.X_OK) and Path(path).is_file() else ""
        return shutil.which(program, path=self._path()) or ""

    def _path(self) -> str:
        handed_on = os.environ.get("PATH", _PATH) if "PATH" in self.environment else _PATH
        return handed_on or _PATH
