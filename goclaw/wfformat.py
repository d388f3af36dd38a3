"""Turn a WfCommons instance (WfFormat 1.5) into a definition that replays its shape and times.

The format: https://github.com/wfcommons/WfFormat. A task of the instance becomes a task of the
same id that sleeps for the recorded runtime times a scale, after the same parents.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goclaw_events.collector import collector_paused
from goclaw_events.faults import Fault, InvalidDefinition, path_text
from goclaw_events.ids import ID_LENGTH_MAX, is_id
from goclaw_events.json_source import read_json
from goclaw_events.loading import definition_from
from goclaw_events.plan import compile_plan

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES_MAX: Final = 256 * 1024 * 1024
VERSION: Final = "1.5"
LANE: Final = "machines"
CONCURRENCY_DEFAULT: Final = 64
_CAPACITY_MIN: Final = 100_000
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_.:-]+")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Task(_Part):
    id: str
    name: str = ""
    parents: tuple[str, ...] = Field(default=(), strict=False)
    children: tuple[str, ...] = Field(default=(), strict=False)


class _Specification(_Part):
    tasks: tuple[_Task, ...] = Field(strict=False, min_length=1)


class _Measured(_Part):
    id: str
    runtimeInSeconds: float = Field(ge=0)  # noqa: N815 - the format's own names


class _Execution(_Part):
    tasks: tuple[_Measured, ...] = Field(default=(), strict=False)


class _Workflow(_Part):
    specification: _Specification
    execution: _Execution = _Execution()


class _Instance(_Part):
    name: str
    description: str = ""
    schemaVersion: str  # noqa: N815 - the format's own names
    createdAt: str = ""  # noqa: N815 - the format's own names
    workflow: _Workflow


@collector_paused()
def import_wfformat(
    path: Path, *, scale: float = 0.0, concurrency: int = CONCURRENCY_DEFAULT
) -> dict[str, Any]:
    """Return, as plain mappings, the definition of the instance in a file.

    `scale` is multiplied with each runtime (0: the tasks do nothing at all); `concurrency` is the
    limit of the one lane. Raises `InvalidDefinition` with every fault of the file, also for one
    that cannot be read.
    """
    instance = _read(path)
    source = str(path)
    runtimes = {task.id: task.runtimeInSeconds for task in instance.workflow.execution.tasks}
    faults = _faults(instance, runtimes, scale)
    if faults:
        raise InvalidDefinition(faults, source)
    needs = _needs(instance.workflow.specification.tasks)
    tasks = {
        task.id: _task(runtimes.get(task.id), needs[task.id], scale)
        for task in instance.workflow.specification.tasks
    }
    definition = {
        "name": _name(instance.name),
        "description": instance.description,
        "metadata": {
            "imported_from": f"WfFormat {VERSION}",
            "instance": instance.name,
            "created_at": instance.createdAt,
            "scale": scale,
        },
        "lanes": {LANE: {"concurrency": concurrency, "capacity": max(_CAPACITY_MIN, len(tasks))}},
        "tasks": tasks,
    }
    compile_plan(definition_from(definition, source))  # cycles, ids, parents that are not there
    return definition


def _read(path: Path) -> _Instance:
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8"
        fault = Fault("unreadable", f"the file cannot be read: {why}", hint="check the path")
        raise InvalidDefinition([fault], source) from error
    if len(data) > FILE_BYTES_MAX:
        raise InvalidDefinition([Fault("too_large", f"more than {FILE_BYTES_MAX} bytes")], source)
    raw, faults = read_json(text, None)
    if faults:
        raise InvalidDefinition(faults, source)
    found = raw.get("schemaVersion") if isinstance(raw, dict) else None
    if isinstance(found, str) and found != VERSION:
        message = f"WfFormat {found!r} is not read, only {VERSION}"
        fault = Fault("bad_version", message, "schemaVersion", hint="convert it with WfCommons")
        raise InvalidDefinition([fault], source)
    try:
        return _Instance.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        faults = [Fault("bad_instance", d["msg"], path_text(d["loc"])) for d in details]
        raise InvalidDefinition(faults, source) from error


def _faults(instance: _Instance, runtimes: dict[str, float], scale: float) -> list[Fault]:
    faults = []
    known = {task.id for task in instance.workflow.specification.tasks}
    seen: Counter[str] = Counter()
    for at, task in enumerate(instance.workflow.specification.tasks):
        path = path_text(("workflow", "specification", "tasks", at, "id"))
        seen[task.id] += 1
        if seen[task.id] > 1:
            faults.append(Fault("duplicate_key", f"{task.id!r} is given twice", path))
        if not is_id(task.id):
            hint = "1 to 200 of A-Z a-z 0-9 _ . : - and the first one of A-Z a-z 0-9 _"
            faults.append(Fault("bad_id", f"{task.id[:80]!r} is not an id", path, hint=hint))
        for child in task.children:
            if child not in known:
                message = f"{task.id!r} has a child {child!r} that is not there"
                faults.append(Fault("unknown_task", message, path))
        if scale and task.id not in runtimes:
            message = f"{task.id!r} has no runtimeInSeconds in workflow.execution"
            faults.append(Fault("missing_key", message, path, hint="import it with --scale 0"))
    for at, measured in enumerate(instance.workflow.execution.tasks):
        if measured.id not in seen:
            path = path_text(("workflow", "execution", "tasks", at, "id"))
            message = f"there is no task {measured.id!r} in workflow.specification"
            faults.append(Fault("unknown_task", message, path))
    return faults


def _needs(tasks: tuple[_Task, ...]) -> dict[str, list[str]]:
    """Return the parents of each task; an edge that only its parent names counts as well."""
    needs = {task.id: dict.fromkeys(task.parents) for task in tasks}
    for task in tasks:
        for child in task.children:
            needs[child][task.id] = None
    return {task_id: list(parents) for task_id, parents in needs.items()}


def _task(runtime_s: float | None, needs: list[str], scale: float) -> dict[str, Any]:
    task: dict[str, Any] = {"agent": "goclaw.sleep", "lane": LANE}
    if runtime_s and scale:
        task["with"] = {"seconds": runtime_s * scale}
    if runtime_s is not None:
        task["expected"] = runtime_s
    if needs:
        task["needs"] = needs
    return task


def _name(text: str) -> str:
    """Return what of an instance's name may be a definition's name."""
    kept = _NO_ID.sub("-", text).lstrip(".:-")[:ID_LENGTH_MAX]
    return kept or "imported"
