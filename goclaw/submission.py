"""What is submitted: a workflow in any form, compiled, checked and packed once."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b, sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from goclaw.builder import Workflow
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.ids import check_id
from goclaw_events.loading import load_definition_file
from goclaw_events.plan import check_input, compile_plan, pack_plan
from goclaw_events.templates import references
from goclaw_events.unsupported import require_supported
from goclaw_events.value import BlobRef, blob_of, pack, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

PREPARED_MAX: Final = 256


class Prepared(NamedTuple):
    """A compiled workflow that this version can run, and its stored form.

    `programs`: the first word of each `exec`, by task; it may be a template.
    """

    plan: Plan
    ref: BlobRef
    data: bytes
    agents: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    programs: Mapping[str, str] = MappingProxyType({})


Submittable: TypeAlias = Workflow | WorkflowDefinition | Prepared | Path
"""What can be run: a builder, a definition, the path of a file, or what `prepare` returned."""


class Preparer:
    """Compile what is submitted; a definition (which is frozen) only once."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[WorkflowDefinition, Prepared]] = OrderedDict()

    def prepare(self, workflow: Submittable) -> Prepared:
        """Return the compiled form; raises `InvalidDefinition`, `Unsupported`."""
        if isinstance(workflow, Prepared):
            return workflow
        if isinstance(workflow, Path):
            return self.prepare(load_definition_file(workflow))
        if isinstance(workflow, Workflow):
            return _prepare(workflow.definition())
        known = self._known.get(id(workflow))
        if known is None:
            known = self._known[id(workflow)] = (workflow, _prepare(workflow))
            while len(self._known) > PREPARED_MAX:
                self._known.popitem(last=False)
        return known[1]


def _prepare(definition: WorkflowDefinition) -> Prepared:
    plan = compile_plan(definition)
    require_supported(definition)
    data = pack_plan(plan)
    agents = dict.fromkeys(task.agent for task in plan.tasks if task.kind == "agent")
    programs = {name: task.exec[0] for name, task in definition.tasks.items() if task.exec}
    return Prepared(plan, blob_of(data), data, tuple(agents), tuple(_secrets(plan)), programs)


def _secrets(plan: Plan) -> Iterator[str]:
    """Yield the names of the secrets that tasks use, each once."""
    read = (references(task.params) for task in plan.tasks if not task.params.is_static)
    found = (one.field for many in read for one in many if one.root == "secret")
    yield from dict.fromkeys(found)


class Request(NamedTuple):
    """The parts of a submission that depend on what was given with it."""

    input: Value
    labels: dict[str, str]
    digest: bytes
    blobs: dict[bytes, bytes]


def request_of(
    prepared: Prepared, given: Mapping[str, Any] | None, labels: Mapping[str, str] | None
) -> Request:
    """Check the input against the plan and digest the whole request.

    Raises `InvalidInput`, `ValueNotStorable`, `ValueTooLarge`.
    """
    blobs = {prepared.ref.sha256: prepared.data}
    checked = check_input(prepared.plan, given or {})
    value = store(checked, blobs) if checked else {}
    merged = {**prepared.plan.labels, **(labels or {})}
    digest = sha256(pack([prepared.ref.sha256, value, sorted(merged.items())])).digest()
    return Request(value, merged, digest, blobs)


def run_id_for(name: str, idempotency_key: str) -> str:
    """Return the run id that an idempotency key of a workflow always leads to."""
    digest = blake2b(f"{name}\0{idempotency_key}".encode(), digest_size=16).hexdigest()
    return check_id(f"run_k{digest}", "run id")
