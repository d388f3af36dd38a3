"""Folding in another process: the same rows, whatever becomes of it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from goclaw_events import facts
from goclaw_events.memory_journal import MemoryJournal
from goclaw_projections import away as away_module
from goclaw_projections import folding as folding_module
from goclaw_projections.away import FoldingProcess
from goclaw_projections.errors import ViewsUnavailable
from goclaw_projections.every import all_projections
from goclaw_projections.folding import Folding, serve
from goclaw_projections.link import FAILED, FOLD, FOLDED, GET, READY, Link, LinkLost, shared_file
from goclaw_projections.runner import ProjectionRunner, RunnerSettings
from goclaw_projections.runs import RunsProjection
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.verify import differences
from tests.projections.log_writer import LogWriter, ended, said, scheduled, submitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from goclaw_projections.projection import Projection
    from goclaw_projections.store import Change

WAIT_S = 30.0
NOTHING_HELD: Final[list[Any]] = [{}, []]
SETTINGS = RunnerSettings(linger_s=0.0, retry_s=0.001, process_facts=1)


class Flaky(MemoryViewStore):
    """A store of which a write or a read fails when it is told to."""

    fails = False
    unreadable = 0

    def get(self, key: bytes) -> bytes | None:
        """Return a row's value, or fail so often."""
        if self.unreadable:
            self.unreadable -= 1
            msg = "input/output error"
            raise ViewsUnavailable(msg)
        return super().get(key)

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Write, or fail once."""
        if self.fails:
            self.fails = False
            msg = "no space"
            raise ViewsUnavailable(msg)
        super().write(changes, dropped)


class Bench:
    """A log, its views, and a runner whose groups are all worth a process."""

    def __init__(
        self,
        projections: list[Projection] | None = None,
        partitions: int = 1,
        settings: RunnerSettings = SETTINGS,
    ) -> None:
        self.journal = MemoryJournal(partitions=partitions)
        self.writer = LogWriter(self.journal)
        self.store = Flaky()
        self.projections = projections or all_projections()
        self.runner = ProjectionRunner(self.journal, self.store, self.projections, settings)
        self.runner.start()
        self._told = 0

    @property
    def away(self) -> FoldingProcess:
        """Return the runner's end of the other process."""
        return self.runner._groups.away

    def tell(self) -> None:
        """Hand over what was written, all of it before any is folded."""
        with self.runner._applying:
            for frame in self.writer.frames[self._told :]:
                self.runner.notify(frame.header.partition, frame)
        self._told = len(self.writer.frames)

    def wait(self) -> None:
        """Wait until all is folded, whatever went wrong before."""
        deadline_s = time.monotonic() + WAIT_S
        while any(self.runner.lag(partition) for partition in range(self.journal.partitions)):
            assert time.monotonic() < deadline_s, "it is never folded"
            self.runner.wait_for_change(0.1)

    def fold(self) -> None:
        """Hand over what was written, and wait until it is folded."""
        self.tell()
        durable = {p: self.journal.durable(p) for p in range(self.journal.partitions)}
        self.runner.wait_for(durable, WAIT_S)

    def fold_until(self, reached: Callable[[], bool]) -> None:
        """Fold one more run after the other until something is so."""
        deadline_s = time.monotonic() + WAIT_S
        while not reached():
            assert time.monotonic() < deadline_s, "it never came to that"
            self.writer.run(f"more{len(self.writer.frames)}")
            self.fold()

    def fold_away(self) -> int:
        """Fold until the other process does, and return its id."""
        self.fold_until(lambda: self.away.pid is not None)
        pid = self.away.pid
        assert pid is not None
        return pid

    def assert_equal(self) -> None:
        """See that the rows are those that the log makes."""
        assert list(differences(self.journal, self.store, all_projections())) == []


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away_module, "START_SHARE", 1)
    monkeypatch.setattr(away_module, "cores", lambda: 2)


@pytest.fixture
def made() -> Iterator[list[Bench]]:
    """Stop every runner that a test puts here."""
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        bench.runner.stop()


def is_over(pid: int) -> bool:
    """Tell whether a process is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_another_process_folds_is_what_the_log_makes(made: list[Bench]) -> None:
    """Tasks and runs that began before the process did, while it folds, and when it has ended."""
    bench = Bench(partitions=2)
    made.append(bench)
    for number in range(6):
        bench.writer.frame(said(f"workflow/w{number}", submitted()))
        bench.writer.frame(said(f"task/w{number}/a", scheduled()))
    bench.fold()
    pid = bench.fold_away()
    for number in range(6):
        task = f"task/w{number}/a"
        bench.writer.frame(said(task, facts.AttemptStarted(1, 7, "n:b")))
        bench.fold()
        bench.writer.frame(
            said(task, facts.TaskCompleted(1, 7, None)), said(f"workflow/w{number}", ended("a"))
        )
    bench.fold()
    assert bench.away.pid == pid
    bench.assert_equal()
    bench.runner.stop()
    assert is_over(pid)
    bench.runner.start()
    bench.writer.run("last")
    bench.fold()
    bench.assert_equal()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_lost_costs_nothing(
    made: list[Bench], monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    """Killed, or silent for too long: the group is folded here, and later another one begins."""
    monkeypatch.setattr(away_module, "ANSWER_S", 0.5)
    monkeypatch.setattr(away_module, "RESTART_S", 0.0)
    bench = Bench()
    made.append(bench)
    pid = bench.fold_away()
    os.kill(pid, sent)
    bench.writer.run("meanwhile")
    bench.fold()
    assert is_over(pid)
    bench.assert_equal()
    assert bench.fold_away() != pid
    bench.assert_equal()


def test_after_a_loss_no_process_is_started_for_a_while(made: list[Bench]) -> None:
    """Not with every group anew."""
    bench = Bench()
    made.append(bench)
    os.kill(bench.fold_away(), signal.SIGKILL)
    bench.writer.run("meanwhile")
    bench.fold()
    bench.writer.run("and then")
    bench.fold()
    assert bench.away.pid is None
    bench.assert_equal()


def test_a_write_that_fails_is_made_again_from_what_is_stored(made: list[Bench]) -> None:
    """What the process made of the group is forgotten there too."""
    bench = Bench()
    made.append(bench)
    pid = bench.fold_away()
    bench.store.fails = True
    bench.writer.frame(said("workflow/unlucky", submitted()), said("workflow/unlucky", ended("a")))
    bench.tell()
    bench.wait()
    bench.fold_away()
    assert (bench.away.pid, bench.store.fails) == (pid, False)
    bench.assert_equal()


def test_a_row_that_cannot_be_read_ends_the_process(made: list[Bench]) -> None:
    """It would wait for it; the group is folded when the disk is well again."""
    bench = Bench()
    made.append(bench)
    bench.writer.frame(said("workflow/r", submitted()))
    bench.fold()
    pid = bench.fold_away()
    bench.away._known.clear()  # as after a write that failed: it has no rows, and must ask
    bench.store.unreadable = 1
    bench.writer.frame(said("workflow/r", ended("a")))
    with pytest.raises(ViewsUnavailable):
        bench.fold()
    assert is_over(pid)
    bench.wait()
    bench.fold_away()
    bench.assert_equal()


SMALL_GROUPS: Final = replace(SETTINGS, frames_max=2)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is done with groups, in order: sent, received, stored."""
    found: list[str] = []

    def told(of: type, name: str, step: str) -> None:
        inner = getattr(of, name)

        def call(*args: Any) -> Any:
            result = inner(*args)
            found.append(step)
            return result

        monkeypatch.setattr(of, name, call)

    told(FoldingProcess, "send", "sent")
    told(FoldingProcess, "receive", "received")
    told(Flaky, "write", "stored")
    return found


def test_the_next_group_is_folded_while_one_is_stored(made: list[Bench], steps: list[str]) -> None:
    """It is sent as soon as the one before was received; partitions take turns."""
    bench = Bench(partitions=2, settings=SMALL_GROUPS)
    made.append(bench)
    bench.fold_away()
    for number in range(8):
        bench.writer.run(f"r{number}")
    steps.clear()
    bench.fold()
    middle = steps[2:-1]
    assert steps[:2] + steps[-1:] == ["sent", "received", "stored"]
    assert middle == ["sent", "stored", "received"] * (len(middle) // 3)
    assert len(middle) > 9
    bench.assert_equal()


@pytest.mark.parametrize("lost", ["killed", "not stored", "unreadable", "silent"])
def test_whatever_goes_wrong_with_two_groups_on_their_way_costs_nothing(
    made: list[Bench], monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """One is received and not stored, the other sent: both are folded once."""
    monkeypatch.setattr(away_module, "ANSWER_S", 0.5)
    bench = Bench(settings=SMALL_GROUPS)
    made.append(bench)
    pid = bench.fold_away()
    sent, inner = [0], FoldingProcess.send

    def send(self: FoldingProcess, *args: Any) -> bool:
        sent[0] += 1
        if sent[0] == 4:
            if lost == "not stored":
                bench.store.fails = True
            elif lost == "unreadable":
                self._known.clear()
                bench.store.unreadable = 1
            else:
                os.kill(pid, signal.SIGKILL if lost == "killed" else signal.SIGSTOP)
        return inner(self, *args)

    monkeypatch.setattr(FoldingProcess, "send", send)
    for number in range(8):
        bench.writer.run(f"r{number}")
    bench.tell()
    bench.wait()
    assert sent[0] >= 4
    assert (is_over(pid), bench.store.fails, bench.store.unreadable) == (True, False, 0)
    bench.assert_equal()


class Unknown(RunsProjection):
    """A view that the other process does not know."""

    name = "unknown"


def test_what_the_process_cannot_fold_is_folded_here(made: list[Bench]) -> None:
    """So an error is met, and reported, where it is with any other group."""
    bench = Bench([RunsProjection(), Unknown()])
    made.append(bench)
    bench.fold_away()
    bench.writer.run("r")
    bench.fold()
    assert [status.state for status in bench.runner.status()] == ["running"] * 2
    assert bench.store.get(b"unknown/run/r") == bench.store.get(b"runs/run/r") is not None


def test_a_rebuild_beside_it_ends_equal(made: list[Bench]) -> None:
    """Rows in the making are folded there as well."""
    bench = Bench()
    made.append(bench)
    bench.fold_away()
    bench.runner.rebuild("tasks")
    bench.writer.run("beside")
    bench.fold()
    bench.runner.wait_for_rebuild("tasks", WAIT_S)
    bench.writer.run("behind")
    bench.fold()
    assert bench.away.pid is not None
    bench.assert_equal()


def test_it_ends_when_there_is_little_to_fold(
    made: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no group was large for a while, or nothing came at all."""
    bench = Bench()
    made.append(bench)
    pid = bench.fold_away()
    monkeypatch.setattr(away_module, "IDLE_S", 0.0)
    bench.away._facts_min = 10**6
    bench.writer.run("little")
    bench.fold()
    assert (bench.away.pid, is_over(pid)) == (None, True)
    bench.assert_equal()


@pytest.mark.parametrize(("facts_min", "cores"), [(0, 2), (1, 1)])
def test_nothing_is_started_where_it_would_not_pay(
    monkeypatch: pytest.MonkeyPatch, facts_min: int, cores: int
) -> None:
    """With a limit of 0 facts, or on one core, every group is folded here, however large."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(subprocess, "Popen", never)
    monkeypatch.setattr(away_module, "cores", lambda: cores)
    folding = FoldingProcess(MemoryViewStore(), facts_min)
    assert not any(folding.is_for(10**6) for _ in range(10))


def descriptors() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_process_that_cannot_be_started_is_done_without(
    monkeypatch: pytest.MonkeyPatch, made: list[Bench]
) -> None:
    """Too many open files, no memory: the groups are folded here, and nothing stays open."""

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", refused)
    bench = Bench()
    made.append(bench)
    before = descriptors()
    for number in range(3):
        bench.writer.run(f"r{number}")
        bench.fold()
    assert (bench.away.pid, descriptors()) == (None, before)
    bench.assert_equal()


# --- the other end


@pytest.fixture
def linked() -> Iterator[Link]:
    """Return a link to a folding process, which is a thread here."""
    ours, theirs = socket.socketpair()
    ours_too = ExitStack()
    orders, answers = shared_file(ours_too), shared_file(ours_too)

    def run() -> None:
        with pytest.raises(LinkLost):
            serve(Link(theirs, answers, orders))

    thread = threading.Thread(target=run)
    thread.start()
    link = Link(ours, os.dup(orders), os.dup(answers))
    assert link.receive() == [READY]
    yield link
    link.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    theirs.close()
    ours_too.close()


def frames_of_a_run() -> list[bytes]:
    """Return the frames of a run of one task."""
    writer = LogWriter(MemoryJournal())
    writer.run("r")
    return [frame.data for frame in writer.frames]


def test_rows_that_are_not_in_memory_are_asked_for(linked: Link) -> None:
    """One stored row is asked for once; what goes on from a group is not asked for again."""
    first, *others = frames_of_a_run()
    linked.send([FOLD, [first], [["runs", "runs", NOTHING_HELD]]])
    kind, [changes] = linked.receive()
    assert (kind, changes[2::2]) == (FOLDED, [b"runs/run/r"])
    linked.send([FOLD, others, [["runs", "runs", None]]])
    assert linked.receive()[0] == FOLDED
    linked.send([FOLD, others, [["runs", "runs~", NOTHING_HELD]]])
    assert linked.receive() == [GET, b"runs~/run/r"]
    linked.send([None])
    assert linked.receive()[0] == FOLDED


class Answering(MemoryViewStore):
    """Stored rows that count the questions for them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = self.singles = self.fetches = 0

    def get(self, key: bytes) -> bytes | None:
        """Answer one."""
        self.asked += 1
        self.singles += 1
        return super().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Answer several."""
        self.fetches += 1
        return [MemoryViewStore.get(self, key) for key in keys]


def waiting_tasks(count: int) -> tuple[MemoryJournal, int]:
    """Return a log of a run whose tasks wait in a lane, then end; and at which frame they do."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    tasks = [f"task/r/{number:03d}" for number in range(count)]
    writer.frame(said("workflow/r", submitted()))
    queued = facts.LaneAdvanced([], [], [(task, 0, False) for task in tasks], [])
    writer.frame(*(said(task, scheduled()) for task in tasks), said("lane/d/io", queued))
    begins = len(writer.frames)
    for task in tasks:
        leased = facts.LaneAdvanced([], [], [], [task])
        writer.frame(said("lane/d/io", leased), said(task, facts.AttemptStarted(1, 7, "n:b")))
        over = said(task, facts.TaskCompleted(1, 7, None))
        writer.frame(over, said("workflow/r", ended(task.rpartition("/")[2])))
    return journal, begins


@pytest.mark.parametrize("begin", [NOTHING_HELD, None], ids=["begins", "goes on"])
def test_rows_that_memory_does_not_hold_are_asked_for_together(
    monkeypatch: pytest.MonkeyPatch, begin: list[Any] | None
) -> None:
    """Of a whole group where memory was too small before; else after a few single questions."""
    monkeypatch.setattr(folding_module, "CACHE_ROWS_MAX", 10)
    journal, begins = waiting_tasks(100)
    data = list(journal.frames(0))
    names = [each.name for each in all_projections()]
    store = Answering()
    folding = Folding(store)
    for frames, held in ((data[:begins], NOTHING_HELD), (data[begins:], begin)):
        store.singles = store.fetches = 0
        for flat in folding.fold(frames, [[name, name, held] for name in names]):
            store.write(
                [(key, flat[place + 1]) for place, key in list(enumerate(flat))[::2] if key]
            )
    assert store.singles <= (10 if begin is None else folding_module.ASKED_MAX + 20)
    assert store.fetches == 1
    assert list(differences(journal, store, all_projections())) == []


def test_a_group_that_cannot_be_folded_is_said_to_be_so(linked: Link) -> None:
    """The next one may be folded."""
    linked.send([FOLD, [b"no frame"], [["runs", "runs", NOTHING_HELD]]])
    assert linked.receive()[0] == FAILED
    linked.send([FOLD, frames_of_a_run(), [["runs", "runs", None]]])
    assert linked.receive()[0] == FAILED
    linked.send([FOLD, frames_of_a_run(), [["runs", "runs", NOTHING_HELD]]])
    assert linked.receive()[0] == FOLDED


class Nothing:
    """Stored rows that nobody may ask for."""

    asked = 0

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Refuse."""
        raise AssertionError(keys)

    def get(self, key: bytes) -> bytes | None:
        """Refuse."""
        raise AssertionError(key)


def test_rows_begin_with_what_memory_held() -> None:
    """They are not asked for."""
    first, *others = frames_of_a_run()
    begun = Folding(Nothing())
    begun.fold([first], [["runs", "runs", NOTHING_HELD]])
    held = begun._rows["runs"].held()
    assert list(held[0]) == ["run/r"]
    [changes] = Folding(Nothing()).fold(others, [["runs", "runs", held]])
    assert changes[::2] == [b"runs/run/r"]


@pytest.mark.parametrize(
    ("told", "data"),
    [(b"", b""), (b"\x00", b""), (b"\xff" * 4, b"\xc0"), (b"\x00\x00\x00\x01", b"\xc1"),
     (b"\x00\x00\x00\x09", b"\x91"), (b"\x00\x00\x00\x01", b"\x90")],
)  # fmt: skip
def test_what_is_no_message_is_a_lost_link(told: bytes, data: bytes) -> None:
    """Cut off, far too long, no msgpack, or empty."""
    ours, theirs = socket.socketpair()
    writes, reads = shared_file(ExitStack()), shared_file(ExitStack())
    link = Link(ours, writes, reads)
    os.pwrite(reads, data, 0)
    theirs.sendall(told)
    theirs.close()
    with pytest.raises(LinkLost):
        link.receive()
    link.close()


_ENGINE: Final = """
import sys, time
from goclaw_projections import away
from goclaw_projections.store import MemoryViewStore
away.START_SHARE = 1
folding = away.FoldingProcess(MemoryViewStore(), 1)
while not folding.is_for(1):
    time.sleep(0.001)
print(folding.pid, flush=True)
sys.stdin.read()
"""


def test_it_does_not_outlive_an_engine_that_is_killed() -> None:
    """Its socket closes with the engine."""
    with subprocess.Popen(
        [sys.executable, "-c", _ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        waiting = os.pidfd_open(pid)
        engine.kill()
    assert select.select([waiting], [], [], WAIT_S)[0], "it lives on"
    os.close(waiting)
