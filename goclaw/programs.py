"""The programs that tasks may run, as the settings say: judged at submission, run by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.executors.allowance import Allowance
from goclaw_actors.executors.errors import ExecNotAllowed
from goclaw_actors.executors.exec_executor import ExecLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import ExecSettings, Settings

_SHOWN_MAX = 5


def allow_any(settings: Settings) -> Settings:
    """Return settings with which tasks may run any program."""
    executors = settings.executors
    programs = executors.exec.model_copy(update={"allow": ("*",)})
    return settings.model_copy(
        update={"executors": executors.model_copy(update={"exec": programs})}
    )


def exec_limits(settings: ExecSettings) -> ExecLimits:
    """Return what the executor of programs is told."""
    limits = {
        "cpu_s": settings.cpu_s_max,
        "memory_bytes": settings.memory_bytes_max,
        "file_bytes": settings.file_bytes_max,
        "processes": settings.processes_max,
        "open_files": settings.open_files_max,
        "core_bytes": 0,
    }
    return ExecLimits(
        Allowance(settings.allow, settings.environment),
        "" if settings.cwd is None else str(settings.cwd),
        settings.output_bytes_max,
        settings.programs_max,
        settings.kill_grace_s,
        {name: value for name, value in limits.items() if value is not None},
    )


def require_allowed(name: str, programs: Mapping[str, str], settings: Settings) -> None:
    """Raise `ExecNotAllowed`, naming every task of `name` whose program may not be run.

    A program that a template yields is judged when it is there; where none is allowed, at once.
    """
    allow = settings.executors.exec.allow
    allowance = Allowance(allow, settings.executors.exec.environment)
    known = {task: word for task, word in programs.items() if "${" not in word or not allow}
    faults = list(allowance.refused(known))
    if not faults:
        return
    tasks = [f"{task!r} ({known[task]})" for task, _ in faults[:_SHOWN_MAX]]
    more = f" and {len(faults) - _SHOWN_MAX} more" if len(faults) > _SHOWN_MAX else ""
    first = faults[0][1]
    raise ExecNotAllowed(
        f"{name}: {first}; it is the program of {', '.join(tasks)}{more}"
        if len(faults) == 1
        else f"{name} runs programs that are not allowed: {', '.join(tasks)}{more}",
        hint=first.hint,
        tasks={task: known[task] for task, _ in faults},
    )
