"""Agents in worker processes: called, answered, stopped, killed, replaced."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw import modules
from goclaw.agents import REGISTRY
from goclaw.config import ExecutorSettings
from goclaw.processes import process_executor
from goclaw_actors.executors import worker_link
from goclaw_actors.executors.agents import AgentOptions
from goclaw_actors.executors.children.children import Children
from goclaw_actors.executors.executor import AgentExecutor
from goclaw_actors.executors.redaction import KNOWN
from goclaw_actors.executors.run import ExecutorLimits
from tests.actors.executors.conftest import Bench, files, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from goclaw_actors.executors.agents import AgentRegistry

    Make = Callable[..., "Workers"]

CREW = '''
import asyncio
import os
import resource
import signal
import sys
import threading
import time

import goclaw


class Fatal(Exception):
    """Not to be tried again."""


@goclaw.agent("crew.add", executor="process")
def add(ctx, a, b=0):
    return a + b


@goclaw.agent("crew.who", executor="process")
async def who(ctx):
    await asyncio.sleep(0)
    return {"pid": os.getpid(), "run": ctx.run_id, "task": ctx.task_id, "attempt": ctx.attempt,
            "key": ctx.idempotency_key, "left": ctx.remaining_s, "input": ctx.input,
            "params": dict(ctx.params), "thread": threading.current_thread().name}


@goclaw.agent("crew.fail", executor="process", never_retry=(Fatal,))
def fail(ctx, how):
    if how == "fatal":
        raise Fatal("fatal")
    if how == "fail":
        raise goclaw.Fail("on purpose", code="my_code")
    if how == "later":
        raise goclaw.RetryAfter(7.0, "not now")
    if how == "limited":
        raise goclaw.RateLimited(7.0, "not served")
    if how == "exit":
        sys.exit(3)
    if how == "die":
        os._exit(7)
    if how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "unstorable":
        return object()
    if how == "memory":
        return len(bytearray(1 << 40))
    if how == "cpu":
        while True:
            pass
    raise ValueError(how)


@goclaw.agent("crew.progress", executor="process")
def progress(ctx):
    ctx.progress(0.5, "half")
    return "done"


@goclaw.agent("crew.polite", executor="process")
def polite(ctx, note):
    open(note, "w").write(str(os.getpid()))
    ctx.sleep(600)


@goclaw.agent("crew.polite_async", executor="process")
async def polite_async(ctx, note):
    open(note, "w").write(str(os.getpid()))
    await asyncio.sleep(600)


@goclaw.agent("crew.deaf", executor="process")
def deaf(ctx, note):
    open(note, "w").write(str(os.getpid()))
    time.sleep(600)


@goclaw.agent("crew.beat", executor="process")
def beat(ctx, alive):
    until = time.monotonic() + (1.2 if alive else 600)
    while time.monotonic() < until:
        time.sleep(0.02)
        if alive:
            ctx.heartbeat()
    return "done"


@goclaw.agent("crew.talk", executor="process")
def talk(ctx, lines):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    ctx.log.warning("to the log", extra={"more": 1})
    for n in range(lines):
        print("x" * 99)


@goclaw.agent("crew.tell", executor="process")
def tell(ctx, text):
    print(text)
    print("and on")
    ctx.log.warning("%s", text)


@goclaw.agent("crew.mislog", executor="process")
def mislog(ctx, how):
    if how == "text":
        ctx.log.warning("%d things", "no")
    else:
        ctx.log.warning("number", extra={"n": 1 << 70})
    return "done"


@goclaw.agent("crew.babble", executor="process")
def babble(ctx, said):
    from goclaw_actors.executors.children.wire import framed
    os.write(3, framed(said))
    time.sleep(600)


@goclaw.agent("crew.secret", executor="process")
def secret(ctx, key):
    return [len(key), key, [name for name in os.environ if name.startswith("GOCLAW_SECRET")]]


@goclaw.agent("crew.large", executor="process")
def large(ctx, text=""):
    return text + "x" * 1_000_000
'''


class Workers:
    """A bench whose agents run in worker processes."""

    def __init__(self, registry: AgentRegistry, folder: Path, **process: Any) -> None:
        settings = ExecutorSettings.model_validate(
            {"process": {"workers_max": 1, "kill_grace_s": 0.05, **process}}
        )
        self.children = Children(folder)
        self.bench = Bench(ExecutorLimits())
        self.bench.executor.close(0.0)
        self.bench.registry = registry
        self.bench.executor = AgentExecutor(
            registry,
            self.bench._sink,
            load=self.bench._load,
            input_of=lambda run_id: self.bench.inputs[run_id],
            processes=process_executor(settings, registry, self.children),
        )
        self.bench.inputs["r"] = {"in": self.bench.keep("a large value")}

    def close(self) -> None:
        """End everything."""
        self.bench.executor.close(grace_s=0.05)
        self.children.close()


@pytest.fixture(scope="module", name="crew")
def _crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentRegistry]:
    """Import the agents, as an operator's module, for all tests of this file."""
    folder = tmp_path_factory.mktemp("crew")
    (folder / "a_crew.py").write_text(CREW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        patch.setattr(REGISTRY, "_agents", dict(REGISTRY._agents))
        importlib.import_module("a_crew")
        yield REGISTRY
        del sys.modules["a_crew"]


@pytest.fixture(scope="module", name="shared")
def _shared(crew: AgentRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Make one bench with one worker for all tests that leave it as it was."""
    workers = Workers(crew, tmp_path_factory.mktemp("processes"))
    yield workers
    workers.close()


@pytest.fixture
def make(crew: AgentRegistry, tmp_path: Path) -> Iterator[Make]:
    """Make benches with limits of their own."""
    made: list[Workers] = []

    def make_one(**process: Any) -> Workers:
        made.append(Workers(crew, tmp_path / "processes", **process))
        return made[-1]

    yield make_one
    for workers in made:
        workers.close()


def test_an_agent_is_called_in_a_worker_which_is_reused(shared: Workers) -> None:
    """It sees the ids, parameters and input of its task; the next attempt has the same process."""
    first = shared.bench.run("crew.who", {"x": 1, "deep": shared.bench.keep([1, 2])}, timeout_s=60)
    assert first.status == "completed", first
    told = first.result
    assert told["pid"] != os.getpid()
    assert told["thread"] == "MainThread"
    assert (told["run"], told["attempt"], told["key"]) == ("r", 1, f"r/{told['task']}/0")
    assert told["input"] == {"in": "a large value"}
    assert told["params"] == {"x": 1, "deep": [1, 2]}
    assert 0 < told["left"] <= 60
    assert shared.bench.run("crew.who").result["pid"] == told["pid"]
    assert shared.bench.run("crew.add", {"a": 2, "b": 3}).result == 5


@pytest.mark.parametrize(
    ("how", "code", "retryable"),
    [
        ("fatal", "agent_error", False),
        ("fail", "my_code", False),
        ("later", "retry_later", True),
        ("limited", "rate_limited", True),
        ("exit", "agent_error", True),
        ("unstorable", "value_not_storable", False),
        ("memory", "agent_error", True),
        ("other", "agent_error", True),
    ],
)
def test_what_an_agent_raises_is_its_outcome(
    shared: Workers, how: str, code: str, retryable: bool
) -> None:
    """As in a thread: code, message, the end of the traceback; the worker goes on."""
    outcome = shared.bench.run("crew.fail", {"how": how})
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", code, retryable)
    assert outcome.retry_after_s == (7.0 if how in ("later", "limited") else None)
    assert outcome.limited == (how == "limited")
    if how == "other":
        assert outcome.message == "ValueError: other"
        assert "raise ValueError(how)" in outcome.trace
    assert shared.bench.run("crew.add", {"a": 1}).result == 1


def test_bad_parameters_are_refused_in_the_worker(shared: Workers) -> None:
    """They are checked against the signature that is there."""
    assert shared.bench.run("crew.add", {"c": 1}).code == "bad_params"


def test_large_values_go_both_ways(shared: Workers) -> None:
    """A result over 64 KiB comes as a blob, parameters by reference arrive whole."""
    text = "y" * 2_000_000
    outcome = shared.bench.run("crew.large", {"text": shared.bench.keep(text)})
    assert outcome.status == "completed", outcome
    assert outcome.blobs is not None
    assert len(outcome.blobs[outcome.result.sha256]) > 3_000_000


def test_progress_comes_through(shared: Workers) -> None:
    """It has the token of the attempt, not a number of the worker's."""
    token = shared.bench.start("crew.progress")
    assert shared.bench.outcome(token).result == "done"
    (progress,) = [item for item in shared.bench.progress() if item.token == token]
    assert (progress.fraction, progress.message) == (0.5, "half")


def test_what_is_printed_goes_to_the_log_and_is_bounded(
    shared: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    """With the ids of the task; what is too much is counted. Log records come as such."""
    with caplog.at_level(logging.INFO):
        shared.bench.run("crew.talk", {"lines": 2000})
        until(lambda: any("dropped" in record.getMessage() for record in caplog.records) or
              not shared.bench.run("crew.add", {"a": 1}).result)  # fmt: skip
    said = {record.getMessage(): record for record in caplog.records}
    assert said["to stdout"].name == "goclaw.agent.output"
    assert vars(said["to stderr"])["run_id"] == "r"
    assert said["to the log"].name == "goclaw.agent.crew.talk"
    assert vars(said["to the log"])["more"] == 1
    assert sum("x" * 99 in text for text in (r.getMessage() for r in caplog.records)) < 700


def test_what_is_cut_shows_no_part_of_a_secret(
    shared: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    """A long line is logged in pieces, a long record cut: at no end is a part of a secret."""
    secret = "".join(f"({n})" for n in range(4000))
    KNOWN.learn({"TOLD": secret})
    with caplog.at_level(logging.INFO):
        shared.bench.run("crew.tell", {"text": "x" * 1000 + secret})
    said = [record.getMessage() for record in caplog.records]
    assert "and on" in said
    assert "x" * 1000 + "[secret TOLD]" in said
    assert "x" * 1000 + "[secret TOLD]..." in said
    assert not any(f"({n})({n + 1})" in text for n in range(4000) for text in said)


@pytest.mark.parametrize("agent", ["crew.polite", "crew.polite_async"])
@pytest.mark.parametrize("how", ["stop", "timeout"])
def test_an_agent_that_stops_when_told_keeps_its_worker(
    make: Make, tmp_path: Path, agent: str, how: str
) -> None:
    """A stop or a timeout is said to the agent first; the next attempt has the same process."""
    workers = make(kill_grace_s=60.0)
    pid = workers.bench.run("crew.who").result["pid"]
    note = tmp_path / "note"
    timeout_s = 0.1 if how == "timeout" else None
    token = workers.bench.start(agent, {"note": str(note)}, timeout_s=timeout_s)
    until(lambda: note.exists() and note.read_text())
    if how == "stop":
        workers.bench.stop(token)
    outcome = workers.bench.outcome(token)
    expected = ("cancelled", "cancelled") if how == "stop" else ("failed", "timeout")
    assert (outcome.status, outcome.code) == expected
    assert outcome.abandoned is False
    assert workers.bench.run("crew.who").result["pid"] == pid


def test_a_worker_whose_agent_does_not_stop_is_killed(make: Make, tmp_path: Path) -> None:
    """The outcome comes when the process is gone, so nothing is abandoned; another takes over."""
    workers = make()
    note = tmp_path / "note"
    token = workers.bench.start("crew.deaf", {"note": str(note)})
    until(lambda: note.exists() and note.read_text())
    workers.bench.stop(token)
    outcome = workers.bench.outcome(token)
    assert (outcome.status, outcome.abandoned) == ("cancelled", False)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert workers.bench.run("crew.add", {"a": 1}).result == 1
    assert len(workers.bench.outcomes[token]) == 1


def test_an_agent_that_gives_no_sign_of_life_is_killed(make: Make) -> None:
    """The worker tells how long its agent has been silent; one that beats goes on."""
    workers = make(workers_max=2)
    attempts = [
        workers.bench.attempt("crew.beat", {"alive": alive})._replace(heartbeat_s=0.6)
        for alive in (True, False)
    ]
    workers.bench.executor.start_many(attempts)
    alive, silent = (workers.bench.outcome(attempt.token) for attempt in attempts)
    assert (alive.status, alive.result) == ("completed", "done")
    assert (silent.status, silent.code, silent.abandoned) == ("failed", "timeout", False)
    assert "heartbeat_timeout" in silent.message


@pytest.mark.parametrize(
    ("how", "said"), [("die", "exit code 7"), ("segv", "SIGSEGV"), ("cpu", "CPU time")]
)
def test_a_worker_that_dies_is_said_and_replaced(make: Make, how: str, said: str) -> None:
    """The attempt may be tried again; what waited behind it is served by another worker."""
    workers = make(cpu_s_max=1)
    token = workers.bench.start("crew.fail", {"how": how})
    behind = workers.bench.start("crew.add", {"a": 5})
    outcome = workers.bench.outcome(token)
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "worker_died", True)
    assert said in outcome.message
    assert workers.bench.outcome(behind).result == 5


def test_every_attempt_has_one_outcome_while_workers_die(make: Make) -> None:
    """Deaths, failures and stops between them: nothing is lost, nothing is answered twice."""
    workers = make(workers_max=2, tasks_max=7)
    expected = {}
    for n in range(48):
        how = {0: "die", 20: "segv", 7: "fail", 13: "other"}.get(n % 40)
        if how:
            expected[workers.bench.start("crew.fail", {"how": how})] = "failed"
        else:
            expected[workers.bench.start("crew.add", {"a": n})] = "completed"
    found = {token: workers.bench.outcome(token).status for token in expected}
    assert found == expected
    assert all(len(workers.bench.outcomes[token]) == 1 for token in expected)
    assert workers.bench.executor.running().in_processes == 0


def test_a_worker_that_hangs_before_it_is_ready_is_killed(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What waits for it fails, instead of waiting for ever."""
    script = tmp_path / "hang"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr("goclaw_actors.executors.crew.START_S", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(script))
        workers = make()
    assert workers.bench.run("crew.add", {"a": 1}).code == "worker_failed"


def test_workers_are_replaced_and_let_go(make: Make) -> None:
    """After `tasks_max` attempts another process serves; without work they leave."""
    workers = make(tasks_max=2, idle_s=0.05)
    pids = [workers.bench.run("crew.who").result["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    until(lambda: workers.bench.executor.running().workers == 0)
    assert workers.bench.run("crew.add", {"a": 1}).result == 1


def test_the_least_number_of_workers_is_there_before_it_is_needed(make: Make) -> None:
    """They are started with the engine, and do not leave when they have nothing to do."""
    workers = make(workers_min=1, workers_max=2, idle_s=0.02)
    until(lambda: workers.bench.executor.running().workers == 1)
    pid = workers.bench.run("crew.who").result["pid"]
    both = [workers.bench.start("crew.who") for _ in range(2)]
    assert pid in {workers.bench.outcome(token).result["pid"] for token in both}
    until(lambda: workers.bench.executor.running().workers == 1)


def test_a_memory_limit_holds_in_a_worker(make: Make) -> None:
    """What cannot be had is a MemoryError of the agent, not the end of anything."""
    workers = make(memory_bytes_max=1 << 30)
    assert "MemoryError" in workers.bench.run("crew.fail", {"how": "memory"}).message


def test_a_worker_that_cannot_begin_fails_what_waits(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing hangs: the attempts fail with `worker_failed`, and may be tried again."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        workers = make()
    outcome = workers.bench.run("crew.add", {"a": 1})
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "worker_failed", True)


def test_an_agent_that_a_worker_does_not_find_fails_typed(shared: Workers) -> None:
    """A function inside another one stands under no name that can be imported."""

    def inside(ctx: goclaw.TaskContext) -> None:
        """Never called."""

    shared.bench.registry.register("crew.inside", inside, options=AgentOptions(executor="process"))
    outcome = shared.bench.run("crew.inside")
    assert (outcome.status, outcome.code) == ("failed", "agent_unknown")
    assert "top of a module" in outcome.message


def test_attempts_that_wait_can_be_stopped(make: Make, tmp_path: Path) -> None:
    """They end at once; they never began."""
    workers = make()
    first = workers.bench.start("crew.deaf", {"note": str(tmp_path / "note")})
    second = workers.bench.start("crew.add", {"a": 1})
    workers.bench.stop(second)
    assert workers.bench.outcome(second).status == "cancelled"
    workers.bench.stop(first)
    assert workers.bench.outcome(first).status == "cancelled"


async def test_the_engine_runs_agents_in_processes(
    crew: AgentRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From end to end: chosen by the decorator, results into other tasks, secrets kept."""
    monkeypatch.setattr(REGISTRY, "_agents", dict(crew._agents))
    workflow = goclaw.Workflow("w")
    first = workflow.task("first", agent="crew.add", with_={"a": 1, "b": 2})
    second = workflow.task("second", agent="crew.add", with_={"a": first.result, "b": 10})
    third = workflow.task("third", agent="crew.secret", with_={"key": "${secret.KEY}"})
    workflow.output = [second.result, third.result]
    monkeypatch.setenv("GOCLAW_SECRET_KEY", "canary-9e7a4c1b")
    async with goclaw.Engine(":memory:") as engine:
        assert (await engine.run(workflow)).result == [13, [15, "[secret KEY]", []]]
        assert engine.parts.executor.running().workers >= 1


async def test_a_setting_puts_sync_agents_into_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that say `thread` stay, async ones too; modules of a trusted folder are found."""
    (tmp_path / "more_crew.py").write_text(
        "import os\nimport goclaw\n"
        "def where(ctx): return os.getpid()\n"
        "async def where_async(ctx): return os.getpid()\n"
        "def make(): return lambda ctx: os.getpid()\n"
        "goclaw.agent('m.sync')(where)\n"
        "goclaw.agent('m.thread', executor='thread')(lambda ctx: os.getpid())\n"
        "goclaw.agent('m.async')(where_async)\n"
        "goclaw.agent('m.made')(make())\n"
    )
    modules.load_modules((), tmp_path)
    workflow = goclaw.Workflow("w")
    workflow.output = {
        name: workflow.task(name, agent=f"m.{name}").result
        for name in ("sync", "thread", "async", "made")
    }
    settings = goclaw.Settings.model_validate({"executors": {"sync_agents": "process"}})
    async with goclaw.Engine(":memory:", settings=settings) as engine:
        pids = (await engine.run(workflow)).result
    assert pids["thread"] == pids["async"] == os.getpid()
    assert os.getpid() not in {pids["sync"], pids["made"]}


@pytest.mark.parametrize("how", ["text", "number"])
def test_a_record_that_cannot_be_written_does_not_fail_an_agent(shared: Workers, how: str) -> None:
    """As in a thread: the worker complains, and the agent goes on."""
    outcome = shared.bench.run("crew.mislog", {"how": how})
    assert (outcome.status, outcome.result) == ("completed", "done")


@pytest.mark.parametrize(
    "said",
    [
        ["done", 1, False, "completed", b"\xc1", None, "", "", "", False, True, None],
        ["done", 1, False, "completed", None, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        ["progress", 1],
        [],
        7,
    ],
)
def test_a_worker_that_talks_nonsense_is_replaced(
    crew: AgentRegistry, tmp_path: Path, said: Any
) -> None:
    """Its attempt fails, and may be tried again; the next one has another worker."""
    workers = Workers(crew, tmp_path)
    try:
        outcome = workers.bench.run("crew.babble", {"said": said})
        assert (outcome.status, outcome.code) == ("failed", "worker_died")
        assert workers.bench.run("crew.add", {"a": 1}).result == 1
    finally:
        workers.close()


@pytest.mark.parametrize("step", ["pipe", "open", "dup", "getcwd"])
def test_a_worker_that_cannot_be_started_leaves_no_file_open(
    crew: AgentRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Its attempt is refused, and may be tried again."""
    workers = Workers(crew, tmp_path)
    try:
        assert workers.bench.run("crew.add", {"a": 1}).status == "completed"
        before = files()

        def fail(*_: object, **__: object) -> None:
            raise OSError(24, "too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="too many open files"):
                worker_link.WorkerLink(workers.children, ["x"], {}, {}, _never, _never, KNOWN)
        assert files() == before
    finally:
        workers.close()


def _never(*_: object) -> None:
    raise AssertionError
