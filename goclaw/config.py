"""The settings of Goclaw: their names, defaults and limits. How they are found: `config_load`.

Only the roof reads settings; lower floors are handed small frozen values by `goclaw.engine`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from goclaw_events.facts import WAITERS_MAX_DEFAULT
from goclaw_events.ids import is_id

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

ENV_PREFIX: Final = "GOCLAW_"
ENV_DELIMITER: Final = "__"
DEFAULT_LANE: Final = "default"
SAGAS_LANE: Final = "sagas"


def _lane_id(text: str) -> str:
    if not is_id(text):
        raise ValueError(
            "a lane id is 1 to 200 of A-Z a-z 0-9 _ . : - and starts with A-Z a-z 0-9 _"
        )
    return text


def _shared_lane(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("a shared lane is written /ID")
    return "/" + _lane_id(text[1:])


def _listed(value: object) -> object:
    """Read `a,b` as well as `["a", "b"]`, so that a list fits into an environment variable."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _address_rules(rules: tuple[str, ...]) -> tuple[str, ...]:
    from goclaw_actors.executors.errors import AddressRuleInvalid
    from goclaw_actors.executors.http.addresses import AddressPolicy

    try:
        AddressPolicy(rules)
    except AddressRuleInvalid as error:
        raise ValueError(str(error)) from error
    return rules


LaneId = Annotated[str, AfterValidator(_lane_id)]
SharedLane = Annotated[str, AfterValidator(_shared_lane)]
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Age = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Section(BaseModel):
    """The common form of a section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LogSettings(Section):
    """What is written about the engine's own doings, and where."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is written."""
    format: Literal["auto", "pretty", "json"] = "auto"
    """auto: pretty on a terminal, JSON lines otherwise. A file always gets JSON lines."""
    file: Path | None = None
    """Write to this file too, besides stderr."""
    file_bytes_max: Annotated[int, Field(ge=4096, le=1 << 40)] = 10 * 1024 * 1024
    """Start a new file when this one would grow beyond."""
    file_count: Annotated[int, Field(ge=2, le=1000)] = 5
    """Keep so many files, the current one included (with one alone nothing could be rotated)."""


class EngineSettings(Section):
    """Limits of one partition's dispatcher."""

    batch_messages_max: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Close a turn batch after so many messages."""
    batch_bytes_max: Annotated[int, Field(ge=1, le=4 * 1024 * 1024)] = 256 * 1024
    """Close a turn batch when its facts have so many bytes."""
    batch_time_s: Annotated[float, Field(gt=0, le=10)] = 0.02
    """Take nothing new into a turn batch after half this time; close it after three times it."""
    live_actors_max: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    """Keep so many actors in memory; the least recently used leave first."""
    commits_in_flight_max: Annotated[int, Field(ge=1, le=64)] = 2
    """Decide further while so many batches are being flushed."""
    commands_max: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Let at most so many commands wait; further ones are refused with `busy`."""
    lost_max: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Restart a task whose attempts were lost with their process at most so many times.

    Then it is a dead letter.
    """
    snapshot_every_facts: Annotated[int, Field(ge=200, le=1_000_000_000)] = 5_000
    """Write an actor away when it has so many facts (a lane: messages) that no snapshot holds."""
    snapshot_time_s: Annotated[float, Field(gt=0, le=1)] = 0.001
    """Encode snapshots for at most so much time a turn batch."""
    history_facts_max: Annotated[int, Field(ge=100, le=1_000_000_000)] = 50_000
    """Let a task, a run or a saga record so many facts (a run or saga eight more for each of its
    tasks); then nothing more is asked of it, and it can only end. A fifth of it is warned of."""
    history_bytes_max: Annotated[int, Field(ge=1 << 16, le=1 << 40)] = 64 * 1024 * 1024
    """Let the facts of a task, a run or a saga take so many bytes (a run or saga 64 KiB more for
    each of its tasks); as above. Values over 64 KiB are kept apart, and do not count."""


class HttpSettings(Section):
    """Tasks that make a request (`http:`)."""

    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """End a request after so much time if its task gives no `timeout`."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 10.0
    """Give a connection up that is not there after so much time."""
    response_bytes_max: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 10 * 1024 * 1024
    """Fail a request whose answer has more bytes, decompressed."""
    allow_private: Annotated[Listed, AfterValidator(_address_rules)] = ()
    """Open addresses that requests may not reach by default (loopback, private networks, ...):
    networks (`10.0.0.0/8`), addresses, `address:port`, or `name:port`."""


class ExecSettings(Section):
    """Tasks that run a program (`exec:`)."""

    allow: Listed = ()
    """Let tasks run these programs, by name or absolute path; `*`: any. None by default."""
    environment: Listed = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
    """Hand these variables on to programs, and no others."""
    cwd: Path | None = None
    """Run programs in this directory; by default in the engine's current one."""
    programs_max: Annotated[int, Field(ge=1, le=4096)] = 64
    """Run at most so many programs at once; others wait."""
    output_bytes_max: Annotated[int, Field(ge=0, le=16 * 1024 * 1024)] = 1024 * 1024
    """Keep so much of stdout and of stderr; the rest is read, dropped, and flagged."""
    kill_grace_s: Seconds = 5.0
    """Kill a program that has not ended so long after it was asked to."""
    cpu_s_max: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    """End a program that used more CPU time."""
    memory_bytes_max: Annotated[int, Field(ge=1 << 20, le=1 << 50)] | None = None
    """Let a program map at most so much memory."""
    file_bytes_max: Annotated[int, Field(ge=0, le=1 << 50)] | None = None
    """End a program that writes a larger file."""
    processes_max: Annotated[int, Field(ge=1, le=1 << 22)] | None = None
    """Let a program fork only while its user has fewer processes, all others included."""
    open_files_max: Annotated[int, Field(ge=8, le=1 << 20)] | None = None
    """Let a program have at most so many files open at once."""


class ProcessSettings(Section):
    """Worker processes, which run agents that say `executor="process"`."""

    workers_min: Annotated[int, Field(ge=0, le=1024)] = 0
    """Keep so many workers, from the start on."""
    workers_max: Annotated[int, Field(ge=1, le=1024)] = 4
    """Have at most so many workers; each runs one agent at a time."""
    idle_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Let a worker go after so much time without work."""
    tasks_max: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1000
    """Replace a worker after so many attempts; 0: never."""
    kill_grace_s: Seconds = 1.0
    """Kill a worker whose agent goes on for so long after its timeout, or after it was stopped."""
    memory_bytes_max: Annotated[int, Field(ge=1 << 26, le=1 << 50)] | None = None
    """Let a worker map at most so much memory."""
    cpu_s_max: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    """Kill a worker whose attempt used more CPU time."""


class ExecutorSettings(Section):
    """Limits of the places where agents run."""

    attempts_max: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Run at most so many attempts at once in this process, of all lanes and kinds of work; the
    others keep their slots, wait, and lanes take turns."""
    threads_max: Annotated[int, Field(ge=1, le=4096)] = 32
    """Run at most so many synchronous agents at once."""
    thread_idle_s: Seconds = 30.0
    """Let a thread go after so much time without work."""
    abandoned_max: Annotated[int, Field(ge=0, le=4096)] = 16
    """Bear so much abandoned work whose grace is over; then no further work is taken."""
    abandon_grace_s: Seconds = 30.0
    """Leave its slot so long to work that was abandoned: a thread past its timeout, mostly."""
    stop_grace_s: Seconds = 5.0
    """Wait so long for running agents when the engine stops."""
    output_unwritten_bytes_max: Annotated[int, Field(ge=1, le=1 << 34)] = 64 * 1024 * 1024
    """Of what all agents emit let so much wait to be written; beyond it each waits for its last
    chunk before it emits another."""
    http: HttpSettings = HttpSettings()
    sync_agents: Literal["thread", "process"] = "thread"
    """Run synchronous agents that do not say where they run in threads, or in worker processes."""
    process: ProcessSettings = ProcessSettings()
    exec: ExecSettings = ExecSettings()


class LaneSettings(Section):
    """A lane that all definitions share; a task names it `/ID`."""

    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Run at most so many of its tasks at once."""
    capacity: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """Let at most so many tasks wait in it."""
    overflow: Literal["reject", "block", "drop_oldest", "drop_newest", "redirect"] = "reject"
    """What happens to a task that finds the lane full."""
    redirect_to: SharedLane | None = None
    """For `redirect`: the shared lane that takes what does not fit, as `/ID`."""
    waiters_max: Annotated[int, Field(ge=1, le=1_000_000)] = WAITERS_MAX_DEFAULT
    """For `block`: let at most so many runs wait for room; further ones are rejected."""
    resources: dict[str, Annotated[int, Field(ge=1, le=1_000_000_000)]] = {}
    """Units that its tasks share, by name; a task takes its `units` of them with its slot."""
    per_tenant: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Run at most so many tasks of one tenant at once (a run's label `tenant`)."""
    per_key: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Run at most so many tasks with one key at once; 1 if not said."""
    ageing_s: Seconds | None = None
    """Count a wait so long as one level of priority (60 if not said); 0: never."""
    fair_by: Literal["tenant", "workflow", "none"] | None = None
    """Between whom the lane is shared fairly: tenants if not said."""
    weights: dict[str, Annotated[float, Field(gt=0, le=1_000_000)]] = {}
    """Shares of tenants (or workflows) that are not 1."""
    rate_per_second: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Start at most so many attempts a second."""
    rate_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Start so many at once after a pause (of a token bucket)."""
    rate_kind: Literal["token_bucket", "leaky_bucket"] = "token_bucket"
    """Let bursts through after a pause, or space all attempts evenly."""

    scale_min: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Have at least so many slots, where they follow the load."""
    scale_max: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Let slots follow the load, up to so many, in place of `concurrency`."""
    scale_wait_s: Annotated[float, Field(gt=0, le=86_400)] = 1.0
    """Double the slots when a queue has stood for so long; change them no sooner again."""
    scale_idle_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """Take a quarter of the slots away when half of them were unused for so long."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.overflow == "redirect") != (self.redirect_to is not None):
            raise ValueError("overflow 'redirect' and redirect_to are given together, or neither")
        if self.scale_max is not None and self.scale_min > self.scale_max:
            raise ValueError("scale_min is more than scale_max")
        return self

    def limits(self) -> dict[str, Any] | None:
        """Return what it limits besides slots and capacity, as a lane is told; None: nothing."""
        rate = None
        if self.rate_per_second is not None:
            rate = [self.rate_per_second, self.rate_burst, self.rate_kind]
        scale = None
        if self.scale_max is not None:
            scale = [self.scale_min, self.scale_max, self.scale_wait_s, self.scale_idle_s]
        said = {
            "rate": rate,
            "scale": scale,
            "resources": self.resources,
            "per_tenant": self.per_tenant,
            "per_key": self.per_key,
            "ageing": self.ageing_s,
            "fair_by": self.fair_by,
            "weights": self.weights,
        }
        return {name: value for name, value in said.items() if value not in (None, {})} or None


class SagaSettings(Section):
    """Sagas that were submitted, or begun by a run that was; what a saga begins does not count."""

    concurrent_max: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Let so many be under way at once; the others are stored, and wait."""
    waiting_max: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Let at most so many wait; one more ends at once, with `lane_full`."""


class AgentSettings(Section):
    """Where agents come from."""

    modules: Listed = ()
    """Import these modules at start: their decorators register agents."""


class SecretSettings(Section):
    """Where `${secret.NAME}` comes from, besides variables called `GOCLAW_SECRET_NAME`."""

    file: Path | None = None
    """Lines of `NAME=value`, in a file that only its owner can read; read again when it changes."""


class SignalSettings(Section):
    """What is said to tasks while they go on."""

    waiting_max: Annotated[int, Field(ge=1, le=1_000)] = 16
    """So many messages may wait for one task; a further one is refused."""
    quiet_s: Annotated[float, Field(ge=0, le=3600)] = 0.5
    """Messages that are to be merged are, once none came for so long."""
    interrupt_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """What is interrupted has so long to stop by itself, unless the interrupt says another."""


class ViewSettings(Section):
    """How projections follow the log."""

    frames_max: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Fold at most so many frames into one write."""
    bytes_max: Annotated[int, Field(ge=1, le=1 << 30)] = 4 * 1024 * 1024
    """Fold frames of at most so many bytes into one write."""
    linger_s: Annotated[float, Field(ge=0, le=60)] = 0.05
    """Wait so long for further frames, unless there are enough; who asks for a position is served
    at once."""
    process_facts: Annotated[int, Field(ge=0, le=10_000_000)] = 500
    """Fold in a process of its own while there are so many facts at once; 0: never."""


class RetentionSettings(Section):
    """What of the log is archived and what is given up. By default nothing is, ever."""

    archive_after_s: Age | None = None
    """Archive facts that are so old, into files that are smaller and never change; off: never."""
    archive_facts_min: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100_000
    """Archive nothing before so many facts are old enough."""
    archive_facts_max: Annotated[int, Field(ge=1, le=1_000_000_000)] = 500_000
    """Archive at most so many facts at once: into one file."""
    expire_after_s: Age | None = None
    """Give up archived facts that are so old: they are deleted for good; off: never."""
    run_id_retention_s: Age | None = None
    """Forget the id of a run whose facts were all given up so long after its end: the same
    submission again is then a new run; off: never."""
    output_s: Age | None = 30 * 86_400.0
    """Forget what tasks emitted so long ago; off: never. Results are kept with the facts."""
    output_bytes_max: Annotated[int, Field(ge=1, le=1 << 50)] | None = 4 * 1024**3
    """Keep so many bytes of what tasks emitted; beyond it the oldest goes, down to nine tenths;
    off: no limit."""
    check_every_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Look so often for what is old enough."""

    @model_validator(mode="after")
    def _archived_first(self) -> Self:
        if self.expire_after_s is None:
            return self
        if self.archive_after_s is None or self.archive_after_s > self.expire_after_s:
            raise ValueError(
                "only what is archived can be given up: set archive_after_s too, no later"
            )
        return self


class AuditSettings(Section):
    """How unfinished runs are looked at, for those that nothing will wake."""

    every_s: Annotated[float, Field(gt=0, le=86_400)] | None = 30.0
    """Begin so often to look at every unfinished run; off: never."""
    slice_runs: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Look at so many runs at a time."""
    cpu_share: Annotated[float, Field(gt=0, le=1)] = 0.005
    """Use at most this part of one processor: where very many runs wait, a round takes longer."""


class Settings(BaseSettings):
    """Everything that can be set, whole and checked; made by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    data_dir: Path = Path(".goclaw")
    """The directory of the log and the views; a relative path starts at the current directory."""
    partitions: Annotated[int, Field(ge=1, le=256)] = 1
    """Cut the log into so many parts; fixed when the data directory is made."""
    log: LogSettings = LogSettings()
    engine: EngineSettings = EngineSettings()
    executors: ExecutorSettings = ExecutorSettings()
    lanes: dict[LaneId, LaneSettings] = {DEFAULT_LANE: LaneSettings()}
    """Shared lanes by id; `default` is always there."""
    sagas: SagaSettings = SagaSettings()
    agents: AgentSettings = AgentSettings()
    secrets: SecretSettings = SecretSettings()
    signals: SignalSettings = SignalSettings()
    views: ViewSettings = ViewSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()

    @field_validator("lanes", mode="before")
    @classmethod
    def _with_default_lane(cls, value: Any) -> Any:
        return {DEFAULT_LANE: {}, **value} if isinstance(value, dict) else value

    @field_validator("lanes")
    @classmethod
    def _without_that_of_sagas(cls, value: dict[str, Any]) -> dict[str, Any]:
        if SAGAS_LANE in value:
            raise ValueError(f"{SAGAS_LANE}: that is the lane of sagas: set sagas.concurrent_max")
        return value

    @model_validator(mode="after")
    def _redirects_end(self) -> Self:
        targets = {"/" + name: lane.redirect_to for name, lane in self.lanes.items()}
        for name, target in targets.items():
            if target is not None and target not in targets:
                raise ValueError(f"lanes.{name[1:]}.redirect_to: there is no lane {target!r}")
        for name in targets:
            passed = [name]
            while (following := targets[passed[-1]]) is not None and following not in passed:
                passed.append(following)
            if following == name:
                raise ValueError(f"full lanes redirect in a circle: {' -> '.join([*passed, name])}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings hands them by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what the constructor is given.

        `load_settings` reads the sources one by one, so that each value knows where it came from.
        """
        return (init_settings,)
