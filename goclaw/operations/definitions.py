"""Definitions that are registered: by name and version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.asker import asker
from goclaw.operations.operation import NoParams, Params, act, read
from goclaw.operations.work import Document
from goclaw.render_saga import compensations_of
from goclaw.run_records import time_text
from goclaw_events.plan import unpack_plan

if TYPE_CHECKING:
    from goclaw.catalogue import Registered
    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground


class Register(Params):
    """A definition to register."""

    definition: Document
    """The definition itself."""
    version: str | None = None
    """Its version (None: its own, or the next number)."""


class NameDefinition(Params):
    """Which definition."""

    name: str
    """`NAME` (its latest version) or `NAME@VERSION`."""


async def _register(engine: Engine, asked: Register) -> dict[str, Any]:
    said = asked.definition
    prepared = await engine.document(said.text, said.format, said.source)
    found = await engine.register(prepared, version=asked.version, registered_by=asker())
    return _summary(found)


def _list(ground: Ground, _: NoParams) -> list[dict[str, Any]]:
    found = []
    for name in ground.catalogue.names():
        versions = ground.catalogue.versions(name)
        found.append({**_summary(versions[-1]), "versions": len(versions)})
    return found


def _show(ground: Ground, asked: NameDefinition) -> dict[str, Any]:
    found = ground.catalogue.find(asked.name)
    plan = unpack_plan(ground.journal.blob(found.definition))
    versions = ground.catalogue.versions(found.name)
    undoing = {step.compensation for step in plan.steps}
    return {
        **_summary(found),
        "kind": "saga" if plan.steps else "workflow",
        "input": [
            {"name": item.name, "type": item.type, "required": item.is_required}
            for item in plan.inputs
        ],
        "tasks": [{"id": task.id, "needs": [plan.tasks[n].id for n in task.needs]}
                  for task in plan.tasks if task.index not in undoing],
        "compensations": compensations_of(plan),
        "versions": [_summary(version) for version in versions],
    }  # fmt: skip


def _plan(ground: Ground, asked: NameDefinition) -> dict[str, Any]:
    found = ground.catalogue.find(asked.name)
    return {**_summary(found), "plan": ground.journal.blob(found.definition)}


def _summary(found: Registered) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "digest": found.definition.hex,
        "registered_at": time_text(found.registered_at_ns),
        "registered_by": found.registered_by,
    }


OPERATIONS: Final = (
    act("workflows.register", Register, _register, "Let a definition be run by its name.",
        "`{name, version, digest, registered_at, registered_by}`", idle=True),
    read("workflows.list", NoParams, _list, "List registered names, with their latest version.",
         "`[summary]`"),
    read("workflows.show", NameDefinition, _show, "Show a registered definition.",
         "its summary, `kind`, `input`, `tasks`, `compensations` of a saga, and `versions`"),
    read("workflows.plan", NameDefinition, _plan, "Give the compiled plan of a definition.",
         "its summary and `plan: bytes`"),
)  # fmt: skip
