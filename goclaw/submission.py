"""What is submitted: a workflow in any form, compiled, checked and packed once."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2b, sha256
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from goclaw.builder import Workflow
from goclaw.errors import UsageInvalid
from goclaw.forms import require_work
from goclaw.saga_builder import Saga
from goclaw_actors.env import new_id
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.errors import HistoryExpired
from goclaw_events.ids import check_id
from goclaw_events.plan import check_input, compile_plan, pack_plan, unpack_plan, work_of
from goclaw_events.plan.model import RUN_BY_AGENTS
from goclaw_events.replay import stream_turns
from goclaw_events.saga import SagaDefinition, compile_saga
from goclaw_events.saga.loading import load_any, load_file
from goclaw_events.templates import Template, references
from goclaw_events.value import BlobRef, blob_of, pack, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from goclaw_events.journal import Journal
    from goclaw_events.loading import Format
    from goclaw_events.plan import Plan, PlannedTask
    from goclaw_events.value import Value

PREPARED_MAX: Final = 256
KEY_CHARS_MAX: Final = 255
"""Of an idempotency key: it is recorded."""


class Prepared(NamedTuple):
    """A compiled workflow, or saga, that this version can run, and its stored form.

    `programs`: the first word of each `exec`, by task; it may be a template.
    """

    plan: Plan
    ref: BlobRef
    data: bytes
    agents: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    programs: Mapping[str, str] = MappingProxyType({})


Unregistered: TypeAlias = Workflow | WorkflowDefinition | Saga | SagaDefinition | Prepared | Path
"""A workflow or a saga: a builder, a definition, the path of a file, or what `prepare` returned."""
Submittable: TypeAlias = Unregistered | str
"""What can be run: a workflow, or the `NAME` or `NAME@VERSION` under which one is registered."""


class Preparer:
    """Compile what is submitted; a definition (which is frozen) only once."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[WorkflowDefinition | SagaDefinition, Prepared]] = (
            OrderedDict()
        )
        self._documents: OrderedDict[bytes, Prepared] = OrderedDict()
        self._lock = Lock()
        self._stored: OrderedDict[bytes, Prepared] = OrderedDict()

    def stored(self, ref: BlobRef, load: Callable[[BlobRef], bytes]) -> Prepared:
        """Return the compiled form that a log keeps; `load` reads a blob."""
        known = self._stored.get(ref.sha256)
        if known is None:
            data = load(ref)
            known = self._stored[ref.sha256] = _prepared(unpack_plan(data), data)
            while len(self._stored) > PREPARED_MAX:
                self._stored.popitem(last=False)
        return known

    def document(self, text: str, text_format: Format, source: str) -> Prepared:
        """Return the compiled form of a text; any thread. Raises `InvalidDefinition`."""
        key = sha256(f"{text_format} {text}".encode(errors="surrogatepass")).digest()
        with self._lock:
            known = self._documents.get(key)
        if known is None:
            known = _prepare(load_any(text, text_format, source))
            with self._lock:
                self._documents[key] = known
                while len(self._documents) > PREPARED_MAX:
                    self._documents.popitem(last=False)
        return known

    def prepare(self, workflow: Unregistered) -> Prepared:
        """Return the compiled form; raises `InvalidDefinition`, `Unsupported`."""
        if isinstance(workflow, Prepared):
            return workflow
        if isinstance(workflow, Path):
            return self.prepare(load_file(workflow))
        if isinstance(workflow, Workflow | Saga):
            return _prepare(workflow.definition())
        known = self._known.get(id(workflow))
        if known is None:
            known = self._known[id(workflow)] = (workflow, _prepare(require_work(workflow)))
            while len(self._known) > PREPARED_MAX:
                self._known.popitem(last=False)
        return known[1]


def _prepare(definition: WorkflowDefinition | SagaDefinition) -> Prepared:
    if isinstance(definition, SagaDefinition):
        plan = compile_saga(definition)
        return _prepared(plan, pack_plan(plan))
    plan = compile_plan(definition)
    return _prepared(plan, pack_plan(plan))


def _prepared(plan: Plan, data: bytes) -> Prepared:
    return prepared_of(plan, data, plan.tasks)


def prepared_of(plan: Plan, data: bytes, tasks: Sequence[PlannedTask]) -> Prepared:
    """Return a plan with what some tasks of it use; `data` is its stored form."""
    work = [work_of(task) for task in tasks]
    agents = dict.fromkeys(task.agent for task in work if task.kind in RUN_BY_AGENTS)
    return Prepared(plan, blob_of(data), data, tuple(agents), secrets_of(work), programs_of(work))


def require_kind(prepared: Prepared, kind: str) -> None:
    """Raise `UsageInvalid` where a saga is run as a workflow, or the other way round."""
    name = prepared.plan.name
    if prepared.plan.steps and kind != "saga":
        msg = f"{name} is a saga, not a workflow"
        raise UsageInvalid(msg, hint=f"goclaw sagas run {name}, or engine.sagas.run(...)")
    if kind == "saga" and not prepared.plan.steps:
        msg = f"{name} is a workflow, not a saga"
        raise UsageInvalid(msg, hint=f"goclaw run, or goclaw submit {name}")


def programs_of(tasks: Iterable[PlannedTask]) -> dict[str, str]:
    """Return the first word of each `exec`, by task; it may be a template."""
    return {task.id: _program(task.params) for task in tasks if task.kind == "exec"}


def _program(params: Template) -> str:
    """Return the program of an `exec`; what a template yields is not known, and shown as one."""
    argv = params.body["argv"]
    words = argv.body if isinstance(argv, Template) else argv
    first = words[0]
    name = first.body if isinstance(first, Template) else first
    return name if isinstance(name, str) else "${...}"


def secrets_of(tasks: Iterable[PlannedTask]) -> tuple[str, ...]:
    """Return the names of the secrets that tasks use, each once."""
    read = (references(task.params) for task in tasks if not task.params.is_static)
    found = (one.field for many in read for one in many if one.root == "secret")
    return tuple(dict.fromkeys(found))


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


def id_for(
    kind: str, name: str, given: str | None, idempotency_key: str | None, now_ns: int
) -> str:
    """Return the id of a run, or a saga, that is submitted: as given, by its key, or a new one.

    A key of a workflow, or of a saga, always leads to the same one. Raises `UsageInvalid`,
    `InvalidId`.
    """
    if given is not None:
        if idempotency_key is not None:
            msg = f"both a {kind} id and an idempotency key are given"
            raise UsageInvalid(msg, hint="the id follows from the key: leave one of them out")
        return check_id(given, f"{kind} id")
    if idempotency_key is None:
        return new_id(kind, now_ns)
    if not 1 <= len(idempotency_key) <= KEY_CHARS_MAX:
        msg = f"an idempotency key has 1 to {KEY_CHARS_MAX} characters, not {len(idempotency_key)}"
        why = "take a digest of it" if idempotency_key else "all submissions would be the same"
        raise UsageInvalid(msg, hint=why)
    digest = blake2b(f"{name}\0{idempotency_key}".encode(), digest_size=16).hexdigest()
    return check_id(f"{kind}_k{digest}", f"{kind} id")


def submitted_as(journal: Journal, stream: str, name: str) -> BlobRef | None:
    """Return the definition that a run was submitted with, if it was, and under this name.

    So a repeat by name means the version that the name stood for then. None where what was
    recorded was given up.
    """
    with suppress(HistoryExpired):
        for turn in stream_turns(journal, stream):
            ref, submitted_name = turn.facts[0].data[:2]
            return ref if submitted_name == name else None
    return None
