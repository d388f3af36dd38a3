"""Child processes never outlive their engine: its launcher sees to it, and the next engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_actors.executors.children.groups import (
    TOKEN_VARIABLE,
    boot_id,
    kill_leftovers,
    read_groups,
    write_group,
)
from goclaw_actors.executors.children.wire import FRAME_BYTES_MAX, Frames, FrameTooLarge, framed
from tests.actors.executors.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = """
    import sys, time
    from pathlib import Path
    from goclaw_actors.executors.allowance import Allowance
    from goclaw_actors.executors.children.children import Children
    from goclaw_actors.executors.exec_executor import ExecLimits, exec_executor
    from goclaw_actors.executors.run import ExecutorLimits
    from tests.actors.executors.conftest import Bench

    folder, note = map(Path, sys.argv[1:])
    children = Children(folder)
    limits = ExecLimits(allowance=Allowance(("*",)))
    bench = Bench(ExecutorLimits(), {"exec": exec_executor(children, limits)})
    script = f"trap '' TERM; sleep 600 & echo $! $$ > {note}; (setsid sleep 601 &); wait; sleep 9"
    bench.start("", {"argv": ["sh", "-c", script]}, kind="exec")
    while not (note.exists() and note.read_text().endswith("\\n")):
        time.sleep(0.005)
    print(children.launcher.pid, flush=True)
    time.sleep(600)
"""
ROOT = Path(__file__).parents[3]
TOKEN = f"tok{os.getpid()}"
"""The processes of tests that run beside this one are not to be taken for its own."""


def gone(pid: int) -> bool:
    """Tell whether a process is not there any more, or only waits to be looked at."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
    except OSError:
        return True


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a group of its own."""
    environ = os.environ | {TOKEN_VARIABLE: TOKEN}
    process = subprocess.Popen(["sleep", "600"], start_new_session=True, env=environ)
    yield process
    process.kill()
    process.wait()


def engine(folder: Path, note: Path) -> tuple[subprocess.Popen[str], int]:
    """Start an engine that runs one program; return it and the pid of its launcher."""
    command = [sys.executable, "-c", textwrap.dedent(ENGINE), str(folder), str(note)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_an_engine_that_is_killed_leaves_no_child(tmp_path: Path) -> None:
    """Its launcher sees the socket close, and kills programs, their groups and strays."""
    process, launcher = engine(tmp_path / "processes", tmp_path / "note")
    pids = [int(pid) for pid in (tmp_path / "note").read_text().split()]
    assert not any(gone(pid) for pid in pids)
    process.kill()
    process.communicate()
    until(lambda: all(gone(pid) for pid in [*pids, launcher]))
    assert list((tmp_path / "processes").iterdir()) == []


def test_the_next_engine_kills_what_even_the_launcher_could_not(tmp_path: Path) -> None:
    """Engine and launcher are killed at once: the groups that were written down are killed."""
    process, launcher = engine(tmp_path / "processes", tmp_path / "note")
    pids = [int(pid) for pid in (tmp_path / "note").read_text().split()]
    os.kill(launcher, signal.SIGSTOP)
    process.kill()
    os.kill(launcher, signal.SIGKILL)
    process.communicate()
    (group,) = read_groups(tmp_path / "processes")
    assert group.pid == pids[1]
    killed, left = kill_leftovers(tmp_path / "processes")
    assert killed >= 1
    assert left == 0
    assert all(gone(pid) for pid in pids)
    assert list((tmp_path / "processes").iterdir()) == []


def test_a_group_is_known_by_boot_pid_and_start(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """A pid that was given to somebody else, or a record of another boot, kills nobody."""
    write_group(str(tmp_path), sleeper.pid, boot_id(), "other")
    record = tmp_path / str(sleeper.pid)
    words = record.read_text().split()
    record.write_text(" ".join([words[0], words[1], str(int(words[2]) - 1), words[3]]))
    assert kill_leftovers(tmp_path) == (0, 0)
    write_group(str(tmp_path), sleeper.pid, "another-boot", TOKEN)
    assert kill_leftovers(tmp_path) == (0, 0)
    (tmp_path / "7").write_text("7 torn")
    assert kill_leftovers(tmp_path) == (0, 0)
    assert not gone(sleeper.pid)
    write_group(str(tmp_path), sleeper.pid, boot_id(), "other")
    assert kill_leftovers(tmp_path) == (1, 0)
    assert gone(sleeper.pid)


def test_a_member_whose_leader_has_ended_is_known_by_its_token(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """The token in the environment says whose it was."""
    (tmp_path / "1").write_text(f"1 {boot_id()} 1 {TOKEN}\n")
    assert kill_leftovers(tmp_path) == (1, 0)
    assert gone(sleeper.pid)


@given(st.lists(st.lists(st.binary(max_size=50), max_size=5), max_size=10), st.data())
def test_messages_survive_any_cut(messages: list[list[bytes]], data: st.DataObject) -> None:
    """However a stream is cut into pieces, the same messages come out."""
    stream = b"".join(framed(message) for message in messages)
    frames, found = Frames(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += list(frames.feed(stream[:size]))
        stream = stream[size:]
    assert found == messages


def test_a_message_that_claims_too_much_is_refused() -> None:
    """No memory is set aside for a length that no side would send."""
    with pytest.raises(FrameTooLarge):
        list(Frames().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big")))
