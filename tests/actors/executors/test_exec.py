"""Programs: what they are given, what becomes of what they say, and how they are made to end."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.allowance import Allowance
from goclaw_actors.executors.children import wire
from goclaw_actors.executors.children.children import Children
from goclaw_actors.executors.exec_executor import ExecLimits, exec_executor
from goclaw_actors.executors.redaction import KNOWN
from goclaw_actors.executors.run import ExecutorLimits
from tests.actors.executors.conftest import Bench, files, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_actors.work import AttemptToken, Outcome

    MakePrograms = Callable[..., "Programs"]

SOON_S = 0.05


class Programs:
    """A bench whose executor runs programs."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.children = Children(folder)
        limits.setdefault("allowance", Allowance(("*",)))
        kinds = {"exec": exec_executor(self.children, ExecLimits(**limits))}
        self.bench = Bench(ExecutorLimits(), kinds)

    def start(
        self, *argv: object, stdin: Any = None, timeout_s: float | None = None
    ) -> AttemptToken:
        """Start a program."""
        params: dict[str, Any] = {"argv": list(argv)}
        if stdin is not None:
            params["stdin"] = stdin
        return self.bench.start("", params, timeout_s=timeout_s, kind="exec")

    def run(self, *argv: object, stdin: Any = None, timeout_s: float | None = None) -> Outcome:
        """Start a program and wait for its outcome."""
        return self.bench.outcome(self.start(*argv, stdin=stdin, timeout_s=timeout_s))

    def python(self, source: str, **given: Any) -> Outcome:
        """Run Python source as a program."""
        return self.run(sys.executable, "-S", "-c", textwrap.dedent(source), **given)

    def result(self, outcome: Outcome) -> dict[str, Any]:
        """Return the result of a program that completed."""
        assert outcome.status == "completed", outcome
        found: dict[str, Any] = outcome.result
        return found

    def close(self) -> None:
        """End everything."""
        self.bench.executor.close(grace_s=0.05)
        self.children.close()


@pytest.fixture
def make_programs(tmp_path: Path) -> Iterator[MakePrograms]:
    """Make benches for programs; they are closed at the end."""
    made: list[Programs] = []

    def make(**limits: Any) -> Programs:
        made.append(Programs(tmp_path / "processes", **limits))
        return made[-1]

    yield make
    for programs in made:
        programs.close()


@pytest.fixture
def programs(make_programs: MakePrograms) -> Programs:
    """Make a bench for programs that may run anything."""
    return make_programs()


def gone(pid: int) -> bool:
    """Tell whether a process is not there any more, or only waits to be looked at."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
    except OSError:
        return True


def test_a_program_is_given_its_words_and_input_and_its_output_comes_back(
    programs: Programs,
) -> None:
    """The words are texts, the input as it is, the result says how it went."""
    result = programs.result(programs.run("wc", "-c", stdin="four"))
    assert (result["exit_code"], result["stdout"].strip(), result["stderr"]) == (0, "4", "")
    assert result["truncated"] is False
    assert 0 < result["duration_s"] < 20
    assert programs.result(programs.run("echo", 1, True, {"a": 1}))["stdout"] == '1 true {"a": 1}\n'
    assert programs.result(programs.run("cat", stdin={"a": [1]}))["stdout"] == '{"a": [1]}'
    assert programs.result(programs.run("cat"))["stdout"] == ""
    assert programs.result(programs.run("printf", "a\\377b"))["stdout"] == "a\\xffb"


def test_input_that_refers_to_a_blob_is_loaded(programs: Programs) -> None:
    """References are replaced before a program sees them, also large ones."""
    ref = programs.bench.keep("x" * 300_000)
    assert programs.result(programs.run("wc", "-c", stdin=ref))["stdout"].strip() == "300000"


def test_the_environment_is_cleared(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only named variables are handed on, and whose work it is."""
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    lines = programs.result(programs.run("env"))["stdout"].splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert found["LANG"] == "C.UTF-8"
    assert found["GOCLAW_RUN_ID"] == "r"
    assert found["GOCLAW_ATTEMPT"] == "1"
    assert found["GOCLAW_IDEMPOTENCY_KEY"] == f"r/{found['GOCLAW_TASK_ID']}/0"
    known = {*Allowance().environment, "GOCLAW_RUN_ID", "GOCLAW_TASK_ID", "GOCLAW_ATTEMPT",
             "GOCLAW_IDEMPOTENCY_KEY", "GOCLAW_PROCESS"}  # fmt: skip
    assert set(found) <= known


def test_a_program_that_fails_says_how(programs: Programs) -> None:
    """Its exit code, and the last that it complained; it may be tried again."""
    outcome = programs.run("sh", "-c", "echo first >&2; echo last >&2; exit 3")
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "exit_nonzero", True)
    assert "exit code 3: last" in outcome.message
    assert outcome.trace == "first\nlast\n"


def test_a_program_that_is_killed_by_the_system_says_by_what(programs: Programs) -> None:
    """A signal from outside is named."""
    outcome = programs.run("sh", "-c", "kill -SEGV $$")
    assert (outcome.status, outcome.code) == ("failed", "killed_by_signal")
    assert "SIGSEGV" in outcome.message
    assert "SIGKILL: somebody outside" in programs.run("sh", "-c", "kill -KILL $$").message


def test_a_program_beyond_its_limits_ends(make_programs: MakePrograms, tmp_path: Path) -> None:
    """CPU time, size of files and memory are bounded by settings."""
    limits = {"cpu_s": 1, "file_bytes": 1000, "memory_bytes": 1 << 29, "open_files": 16}
    programs = make_programs(limits=limits)
    cpu = programs.start(sys.executable, "-S", "-c", "while True: pass")
    size = programs.run("dd", "if=/dev/zero", f"of={tmp_path / 'large'}", "bs=5000", "count=1")
    assert (size.code, "file_bytes_max" in size.message) == ("killed_by_signal", True)
    memory = programs.python("b = bytearray(2 << 30)")
    assert (memory.code, "MemoryError" in memory.message) == ("exit_nonzero", True)
    files = programs.python("f = [open('/dev/null') for _ in range(20)]")
    assert (files.code, "Too many open files" in files.message) == ("exit_nonzero", True)
    outcome = programs.bench.outcome(cpu)
    assert (outcome.code, "cpu_s_max" in outcome.message) == ("killed_by_signal", True)


def test_what_is_printed_is_bounded_and_never_blocks(make_programs: MakePrograms) -> None:
    """Beyond the bound it is read and dropped, and the result says so."""
    programs = make_programs(output_bytes_max=1000)
    result = programs.result(programs.run("sh", "-c", "head -c 100000000 /dev/zero | tr '\\0' x"))
    assert result["truncated"] is True
    assert result["stdout"] == "x" * 1000
    whole = programs.result(programs.run("sh", "-c", "printf '%0999d' 0; printf 'ä'"))
    assert (len(whole["stdout"]), whole["truncated"]) == (999, True)


def test_what_is_cut_off_leaves_no_part_of_a_secret(make_programs: MakePrograms) -> None:
    """In the output that is kept, in the message that has its last line, in the trace."""
    secret = "".join(f"<{n}>" for n in range(3000))
    KNOWN.learn({"LONG": secret})
    programs = make_programs(output_bytes_max=1000)
    result = programs.result(programs.run("sh", "-c", "printf 'x '; cat", stdin=secret))
    assert (result["stdout"], result["truncated"]) == ("x [secret LONG]", True)
    told = programs.run("sh", "-c", "printf 'oh '; cat >&2; exit 1", stdin=f"no: {secret}")
    assert told.message.endswith("exit code 1: no: [secret LONG]")
    assert told.trace == "no: [secret LONG]"
    whole = make_programs().run("sh", "-c", "cat >&2; exit 1", stdin=f"{secret}{'y' * 4000}")
    assert whole.trace == f"[secret LONG]{'y' * 4000}"


def test_a_program_past_its_timeout_is_ended_with_its_group(
    make_programs: MakePrograms, tmp_path: Path
) -> None:
    """SIGTERM is obeyed or not: after the grace the whole group is gone when the outcome comes."""
    programs = make_programs(kill_grace_s=SOON_S)
    note = tmp_path / "pids"
    script = f"trap '' TERM; sleep 600 & echo $! $$ > {note}; wait; wait; sleep 600"
    outcome = programs.run("sh", "-c", script, timeout_s=0.5)
    assert (outcome.status, outcome.code, outcome.abandoned) == ("failed", "timeout", False)
    until(lambda: all(gone(int(pid)) for pid in note.read_text().split()))


def test_a_program_that_obeys_ends_within_the_grace(make_programs: MakePrograms) -> None:
    """A stop asks first; the outcome is the stop, not what the program made of it."""
    programs = make_programs(kill_grace_s=600.0)
    token = programs.start("sleep", "600")
    until(lambda: programs.bench.executor.running().others["exec"] == 1)
    programs.bench.stop(token, "not needed")
    outcome = programs.bench.outcome(token)
    assert (outcome.status, outcome.code, outcome.message) == (
        "cancelled",
        "cancelled",
        "not needed",
    )


def test_what_a_program_leaves_behind_ends_with_it(programs: Programs, tmp_path: Path) -> None:
    """Its group, and what left its group, are killed; nobody waits for their pipes."""
    note = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {note}; (setsid sleep 601 & echo $! >> {note}); exit 0"
    assert programs.result(programs.run("sh", "-c", script))["exit_code"] == 0
    until(lambda: all(gone(int(pid)) for pid in note.read_text().split()))


def test_what_hides_behind_a_stray_ends_with_it(programs: Programs, tmp_path: Path) -> None:
    """A process of another session, started by one of another session, is killed as well."""
    note = tmp_path / "pids"
    inner = f"setsid sleep 602 & echo $! >> {note}; sleep 603"
    script = f"setsid sh -c '{inner}' & while ! [ -s {note} ]; do sleep 0.01; done; exit 0"
    assert programs.result(programs.run("sh", "-c", script))["exit_code"] == 0
    until(lambda: all(gone(int(pid)) for pid in note.read_text().split()))


def test_a_command_line_without_bounds_is_refused(
    make_programs: MakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, is not tried again, and leaves neither files nor its place behind."""
    programs = make_programs(programs_max=1)
    programs.run("true")
    before = files()
    monkeypatch.setattr(wire, "FRAME_BYTES_MAX", 100_000)
    outcome = programs.run("echo", "x" * 200_000)
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "bad_params", False)
    assert programs.run("true").status == "completed"
    until(lambda: files() == before)


@pytest.mark.parametrize("allowed", [(), ("ls",), ("/bin/wc-other",)])
def test_a_program_that_is_not_allowed_is_not_run(
    make_programs: MakePrograms, allowed: tuple[str, ...]
) -> None:
    """The refusal says how to allow it, and is not tried again."""
    programs = make_programs(allowance=Allowance(allowed))
    outcome = programs.run("wc", "-c")
    assert (outcome.status, outcome.code) == ("failed", "exec_not_allowed")
    assert outcome.retryable is False
    assert "executors.exec.allow" in outcome.message


def test_a_program_is_allowed_by_its_name_or_its_path(make_programs: MakePrograms) -> None:
    """An allowed path may be called by its name; an allowed name does not allow a path."""
    path = Allowance(("*",)).locate("echo", "")
    assert make_programs(allowance=Allowance((path,))).run("echo", "a").status == "completed"
    by_name = make_programs(allowance=Allowance(("echo",)))
    assert by_name.run("echo", "a").status == "completed"
    assert by_name.run(path, "a").code == "exec_not_allowed"


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["no-such-program"], "program_not_found"),
        (["/no/such/program"], "program_not_found"),
        ([os.devnull], "program_not_found"),
        (["/etc/passwd"], "program_not_found"),
        ([""], "bad_params"),
        (["echo", "a\0b"], "bad_params"),
    ],
)
def test_what_cannot_be_run_fails_for_good(programs: Programs, argv: list[str], code: str) -> None:
    """A program that is not there, or words that none can be given, are not tried again."""
    outcome = programs.run(*argv)
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", code, False)
    assert os.environ["PATH"] not in outcome.message


def test_a_script_without_its_interpreter_is_not_found(programs: Programs, tmp_path: Path) -> None:
    """What the kernel cannot execute is told as such, and the next program runs."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert programs.run(str(script)).code == "program_not_found"
    assert programs.run("true").status == "completed"


def test_programs_beyond_the_limit_wait(make_programs: MakePrograms) -> None:
    """No more run at once than are allowed, and one that waits can be cancelled."""
    programs = make_programs(programs_max=1)
    first = programs.start("sleep", "600")
    second = programs.start("echo", "2")
    third = programs.start("echo", "3")
    programs.bench.stop(second)
    assert programs.bench.outcome(second).status == "cancelled"
    programs.bench.stop(first)
    assert programs.bench.outcome(first).status == "cancelled"
    assert programs.bench.outcome(third).status == "completed"


def test_programs_die_with_their_launcher_and_the_next_one_has_another(
    programs: Programs, tmp_path: Path
) -> None:
    """Killing the launcher ends its children before their outcomes come."""
    note = tmp_path / "pid"
    token = programs.start("sh", "-c", f"sleep 600 & echo $! $$ > {note}; wait")
    until(lambda: note.exists() and note.read_text().endswith("\n"))
    os.kill(programs.children.launcher.pid, 9)
    outcome = programs.bench.outcome(token)
    assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "launcher_died", True)
    assert all(gone(int(pid)) for pid in note.read_text().split())
    assert programs.run("echo", "again").status == "completed"


def test_nothing_is_left_when_the_executor_closes(programs: Programs, tmp_path: Path) -> None:
    """Programs that ignore everything are gone when closing returns; so are the records."""
    note = tmp_path / "pid"
    token = programs.start("sh", "-c", f"trap '' TERM; echo $$ > {note}; sleep 600; sleep 600")
    until(lambda: note.exists() and note.read_text().endswith("\n"))
    programs.close()
    assert programs.bench.outcome(token).code == "executor_closed"
    assert gone(int(note.read_text()))
    assert list((tmp_path / "processes").iterdir()) == []
