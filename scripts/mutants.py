"""Break the engine in known ways, in a copy of the tree, and see that the simulation notices.

Usage: mutants.py [--seeds 0:600] [--jobs 2] [NAME ...]

A check that never fails proves nothing: each mutant takes one safeguard away. Exit status 1 if
the simulation finds nothing wrong with one of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TREES = ("actors", "events", "projections", "goclaw", "tests/simulation", "tests/actors", "scripts")
PATH_OF_FLOORS = ("", "events", "actors", "projections")


class Mutant(NamedTuple):
    """A safeguard taken away: in `file`, `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant("a parked message is settled by everyone who asks",
           "actors/goclaw_actors/turns.py",
           "        refused = self.parked.settle(facts)\n", "        refused = None\n"),
    Mutant("deliveries of another partition are not compared with what was taken in",
           "actors/goclaw_actors/exchange.py",
           "records[known + 1 - counter :]", "records[:]"),
    Mutant("a delivery that was taken in before is taken in again",
           "actors/goclaw_actors/exchange.py", "if last > known:", "if last > 0:"),
    Mutant("the counter of what was taken in is not stored",
           "actors/goclaw_actors/dispatcher.py",
           "batch.builder.received[delivery.source] = delivery.last",
           "batch.builder.received[delivery.source] = 0"),
    Mutant("messages to other partitions are not sent again after a restart",
           "actors/goclaw_actors/node.py",
           "            dispatcher.exchange.resend()", "            pass"),
    Mutant("acknowledgements are not recorded",
           "actors/goclaw_actors/exchange.py",
           "builder.acked.append((peer, self._settled[peer] + 1, end))", "pass"),
    Mutant("a lane lends one slot too many",
           "actors/goclaw_actors/lane/draft.py",
           "max(0, self.concurrency - len(self.lane.leased)",
           "max(0, self.concurrency + 1 - len(self.lane.leased)"),
    Mutant("a lane ignores priorities on arrival",
           "actors/goclaw_actors/task/asking.py",
           "whose = (task.stream, said.priority, at_head,",
           "whose = (task.stream, 0, at_head,"),
    Mutant("a lane's capacity is not looked at",
           "actors/goclaw_actors/lane/draft.py",
           "return self.capacity - self.room.places", "return 10**9"),
    Mutant("a stale token may record a result",
           "actors/goclaw_actors/task/outcomes.py",
           "if not current or task.status not in ATTEMPTED:",
           "if task.status not in ATTEMPTED:"),
    Mutant("attempts start before their commit",
           "actors/goclaw_actors/dispatcher.py",
           "        self.turns.in_flight.append(batch)\n",
           "        self.turns.in_flight.append(batch)\n"
           "        self._ports.executor.start_many(batch.starts)\n"
           "        batch.starts = []\n"),
    Mutant("answers leave before their commit",
           "actors/goclaw_actors/dispatcher.py",
           "        self.turns.in_flight.append(batch)\n",
           "        self.turns.in_flight.append(batch)\n"
           "        for reply_to, answer, number in batch.replies:\n"
           "            reply_to(Reply(answer, Position(self.partition, number)))\n"
           "        batch.replies = []\n"),
    Mutant("answers of an empty batch do not wait for the batches before it",
           "actors/goclaw_actors/dispatcher.py",
           "last.replies.extend(batch.replies)",
           "[r(Reply(a, Position(self.partition, n))) for r, a, n in batch.replies]"),
    Mutant("inbox rows are not deleted when handled",
           "actors/goclaw_actors/batch.py",
           "self.builder.handled.append(message.row)", "pass"),
    Mutant("messages that a full batch leaves are not written",
           "actors/goclaw_actors/dispatcher.py",
           "builder.left.append((batch.sent, message.record(builder.blobs)))", "pass"),
    Mutant("a timer that fired keeps its row",
           "actors/goclaw_actors/batch.py",
           "self.timer(message.timer, added=False)", "pass"),
    Mutant("timers fire a second early",
           "actors/goclaw_actors/timers.py",
           "self._heap[0].due_ns <= now_ns", "self._heap[0].due_ns <= now_ns + 10**9"),
    Mutant("timers are not read again after a restart",
           "actors/goclaw_actors/timers.py",
           "self._push(timer_of(key))", "timer_of(key)"),
    Mutant("an actor with facts in flight is rebuilt without them",
           "actors/goclaw_actors/turns.py",
           "if flying.frame is not None and stream in flying.builder.streams",
           "if flying.frame is None and stream in flying.builder.streams"),
    Mutant("lost attempts are not restarted",
           "actors/goclaw_actors/attempts.py",
           "self._command(Message(stream, LoseAttempt(number, self._lost_max)))", "pass"),
    Mutant("an attempt that ended keeps its row",
           "actors/goclaw_actors/batch.py",
           "self.builder.attempts_removed.append(effect.token)", "pass"),
    Mutant("outcomes are lost with a failed commit",
           "actors/goclaw_actors/dispatcher.py",
           "self.commands = deque([*outcomes, *kept])", "self.commands = deque(kept)"),
    Mutant("actors live on after a failed commit",
           "actors/goclaw_actors/dispatcher.py",
           "        self.turns.directory.clear()\n", ""),
    Mutant("a repeated command is handled again",
           "actors/goclaw_actors/turns.py",
           "    if message.command_id is not None:\n        reply = known_reply",
           "    if message.command_id is None:\n        reply = known_reply"),
    Mutant("a run takes another request under its id for the same",
           "actors/goclaw_actors/workflow/decide.py",
           "if run.digest == message.digest and", "if run.digest and"),
    Mutant("a cancelled run goes on scheduling",
           "actors/goclaw_actors/workflow/draft.py",
           "if left == 0 and self.status == RUNNING:", "if left == 0:"),
    Mutant("a task told to stop is restarted when its process is lost",
           "actors/goclaw_actors/task/outcomes.py",
           "        if task.status == CANCELLING:\n            return end(task, (lost,",
           "        if task.status == RUNNING and False:\n            return end(task, (lost,"),
    Mutant("a task that ended keeps its slot",
           "actors/goclaw_actors/task/ending.py",
           "(release(task, kept=kept), tells) if slot and task.lane else (tells,)", "(tells,)"),
    Mutant("time of a partition goes back with the wall clock",
           "actors/goclaw_actors/dispatcher.py",
           "self._last_ns = max(self._ports.clock.now_ns(), self._last_ns)",
           "self._last_ns = self._ports.clock.now_ns() - 10**9 * (self._opened_count > 1)"),
    Mutant("the hash of a frame is not compared when a stream is read",
           "events/goclaw_events/replay.py",
           "turns_of(decode_frame(data), stream)",
           "turns_of(decode_frame(data, check=False), stream)"),
    Mutant("an input/output error while reading is taken for a bug",
           "actors/goclaw_actors/turns.py",
           "        except JournalUnavailable:\n            raise", "        except KeyError:\n"
           "            raise"),
    Mutant("a task whose lane was given up is not told",
           "actors/goclaw_actors/bugs.py",
           "            self._refuse_slot(batch, message)  # nobody else tells the task\n", ""),
    Mutant("an attempt whose outcome a bug swallowed is not lost",
           "actors/goclaw_actors/attempts.py",
           "if token.number in self._live and not self._executor.holds(token):",
           "if token.number in self._live and not token:"),
    Mutant("a schedule begins a run beside another",
           "actors/goclaw_actors/schedule/turn.py",
           "            elif not self.running:", "            elif True:"),
    Mutant("a schedule makes up for the first time that was missed, not the last",
           "actors/goclaw_actors/schedule/turn.py",
           "begun = latest[-1:]", "begun = found.latest[:1]"),
    Mutant("a schedule does not say what it leaves out",
           "actors/goclaw_actors/schedule/turn.py",
           "self.facts.append(FiringsSkipped(first_ns, latest[-begun - 1], left, MISSED))", "pass"),
    Mutant("the runs of a schedule are named by the time at which they begin",
           "actors/goclaw_actors/schedule/turn.py",
           "return key_of(self.name, firing.planned_ns,",
           "return key_of(self.name, self.moment.now_ns,"),
    Mutant("a schedule that is woken begins what is not due yet",
           "actors/goclaw_actors/schedule/turn.py",
           "now_ns = self.moment.now_ns - said.offset_ns", "now_ns = self.moment.now_ns"),
)  # fmt: skip


def main() -> int:
    """Try the mutants that were named, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", default="0:600")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("names", nargs="*", help="parts of names (none: every mutant)")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if not args.names or any(name in m.name for name in args.names)]
    missed = 0
    for mutant in chosen:
        found = try_mutant(mutant, args.seeds, args.jobs)
        missed += not found
        print(f"{'noticed' if found else 'MISSED '}  {mutant.name}: {found}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutants noticed")
    return 1 if missed else 0


def try_mutant(mutant: Mutant, seeds: str, jobs: str) -> str:
    """Simulate a broken copy; return what was found wrong with it, or nothing."""
    with tempfile.TemporaryDirectory(prefix="goclaw-mutant-") as folder:
        copy = Path(folder)
        for tree in TREES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / tree, copy / tree, ignore=ignored)
        file = copy / mutant.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            print(f"{mutant.file} holds the text to break {text.count(mutant.old)} times")
            return ""
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        return simulate(copy, seeds, jobs)


def simulate(copy: Path, seeds: str, jobs: str) -> str:
    """Run the simulation of a tree; return its first failure."""
    # The copy's own packages go before those that are installed.
    floors = [str(copy / floor) for floor in PATH_OF_FLOORS]
    start = (
        f"import runpy, sys; sys.path[:0] = {floors!r}; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", start, str(copy / "scripts" / "simulate.py"), "--seeds",
               seeds, "--jobs", jobs, "--stop", "--no-shrink", "--json"]  # fmt: skip
    done = subprocess.run(  # noqa: S603 - this project's own script
        command, cwd=copy, capture_output=True, text=True, check=False
    )
    try:
        result = json.loads(done.stdout)
    except ValueError:
        return done.stderr[-300:]
    if not result["failed"]:
        return ""
    first = result["failed"][0]
    return f"seed {first['seed']}, {first['how'][:110]}".replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
