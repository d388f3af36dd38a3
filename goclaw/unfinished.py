"""The runs of a log that have not ended, and what they cannot go on without."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw.errors import GoclawError
from goclaw.modules import load_own
from goclaw.programs import require_allowed
from goclaw.secrets import SecretSource
from goclaw.submission import programs_of, secrets_of
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.executors.secrets import SecretMissing, Secrets
from goclaw_actors.rebuild import fold
from goclaw_actors.statuses import ACTIVE, PENDING
from goclaw_events.errors import CodedError
from goclaw_events.ids import owner_stream, plain_id
from goclaw_events.plan import work_of
from goclaw_events.plan.model import RUN_BY_AGENTS
from goclaw_events.replay import stream_turns
from goclaw_events.tables import u16

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from goclaw.config import Settings
    from goclaw_actors.executors.agents import AgentRegistry
    from goclaw_actors.saga import Saga
    from goclaw_actors.workflow.state import Run
    from goclaw_events.journal import Journal
    from goclaw_events.plan import Plan, PlannedTask

_SHOWN_MAX = 5


class AgentsMissing(GoclawError):
    """Unfinished runs need agents that nobody registered; `details["agents"]` maps them to runs."""

    code = "agents_missing"


class UnfinishedRun(NamedTuple):
    """A run that has not ended; `agents` are those of its tasks that have not ended.

    `programs`: what those tasks run, by task; `secrets`: the names of those they use; `stuck` as
    in `RunStuck`.
    """

    run_id: str
    name: str
    plan: Plan
    submitted_at_ns: int
    agents: tuple[str, ...]
    programs: Mapping[str, str]
    secrets: tuple[str, ...]
    stuck: Sequence[Sequence[str]] = ()

    def as_plain(self) -> dict[str, Any]:
        """Return what it is and what it needs, as plain data."""
        return {
            "run_id": self.run_id,
            "name": self.name,
            "agents": list(self.agents),
            "programs": dict(self.programs),
            "secrets": list(self.secrets),
            "stuck": [list(place) for place in self.stuck],
        }


def unfinished_runs(journal: Journal, count_max: int | None = None) -> list[UnfinishedRun]:
    """Return the unfinished runs (at most `count_max`), the oldest first; reads those runs only.

    Raises `LogDamaged`.
    """
    return _unfinished(journal, "workflow", count_max)


def unfinished_sagas(journal: Journal, count_max: int | None = None) -> list[UnfinishedRun]:
    """Return the unfinished sagas by id that wait for no person: as `unfinished_runs`."""
    return _unfinished(journal, "saga", count_max)


def _unfinished(journal: Journal, kind: str, count_max: int | None) -> list[UnfinishedRun]:
    decider = deciders(StoredContents(journal))[kind]
    found = []
    for key in islice(_open(journal, kind), count_max):
        stream = owner_stream(key)
        turns = list(stream_turns(journal, stream))
        run: Run | Saga = fold(decider, stream, turns)
        if run.plan is not None and not run.has_ended:
            left = [work_of(task) for task in _left(run.plan, run.statuses)]
            agents = tuple(dict.fromkeys(task.agent for task in left if task.kind in RUN_BY_AGENTS))
            stuck = getattr(run, "stuck", ())
            needs = (agents, programs_of(left), secrets_of(left), stuck)
            name = plain_id(key)
            found.append(UnfinishedRun(name, run.name, run.plan, turns[0].time_ns, *needs))
    return sorted(found, key=lambda run: (run.submitted_at_ns, run.run_id))


def _open(journal: Journal, wanted: str) -> Iterator[str]:
    for partition in range(journal.partitions):
        for key, _ in journal.rows("open", u16(partition)):
            kind, _, name = key[4:].decode().partition("/")
            if kind == wanted:
                yield name


def _left(plan: Plan, statuses: bytearray) -> list[PlannedTask]:
    """Return the tasks that have not ended."""
    return [plan.tasks[i] for i, status in enumerate(statuses) if status in (PENDING, ACTIVE)]


def _missing(needs: Mapping[str, Iterable[str]], registry: AgentRegistry) -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    for run_id, agents in needs.items():
        for agent in agents:
            if registry.get(agent) is None:
                missing.setdefault(agent, []).append(run_id)
    return missing


def require_able(
    runs: Sequence[Mapping[str, Any]], settings: Settings, registry: AgentRegistry
) -> None:
    """Raise unless unfinished runs (as plain data) can go on as far as can be told.

    Else they would fail, one after the other, for want of something that is easily given. Raises
    `AgentsMissing`, `ExecNotAllowed`, `SecretMissing`, `SecretUnfit`; nothing has begun.
    """
    require_agents({run["run_id"]: run["agents"] for run in runs}, registry)
    secrets = Secrets(SecretSource(settings.secrets.file))
    for run in runs:
        try:
            require_allowed(f"run {run['run_id']}", run["programs"], settings)
            secrets.require(run["secrets"])
        except CodedError as error:
            if isinstance(error, SecretMissing):
                error.message = f"run {run['run_id']} is unfinished, and {error.message}"
            error.hint += f"; or give the run up: goclaw runs cancel {run['run_id']}"
            raise


def require_agents(needs: Mapping[str, Iterable[str]], registry: AgentRegistry) -> None:
    """Raise `AgentsMissing` unless every agent that a run (by its id) needs is registered.

    The agents of the demo are registered if they are needed: nobody has to know their module.
    """
    load_own(_missing(needs, registry), registry)
    missing = _missing(needs, registry)
    if not missing:
        return
    lines = []
    for agent, run_ids in sorted(missing.items()):
        more = f" and {len(run_ids) - _SHOWN_MAX} more" if len(run_ids) > _SHOWN_MAX else ""
        lines.append(f"\n  {agent}: needed by {', '.join(run_ids[:_SHOWN_MAX])}{more}")
    close = {name for agent in missing for name in registry.close_to(agent)}
    meant = f" (registered are: {', '.join(sorted(close))})" if close else ""
    raise AgentsMissing(
        "unfinished runs need agents that are not registered:" + "".join(lines),
        hint=f"name the modules that register them: --module M, or --trust-dir DIR{meant}",
        agents=missing,
    )
