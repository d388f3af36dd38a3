"""Every command against an engine that runs in another process, and the life of that process."""

from __future__ import annotations

import json
import os
import signal
import stat
from typing import TYPE_CHECKING, Any

import pytest

from goclaw.cli import main
from goclaw.doctor import lock_holder
from tests.goclaw.processes import last_json, prepare, read_until, start, start_blocked
from tests.goclaw.test_cli_frame import commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = """
name: hello
version: "1.0"
input: {who: {type: string}, times: {type: integer, default: 1}}
tasks:
  greet: {agent: goclaw.echo, with: {text: "hello ${input.who}", times: "${input.times}"}}
output: "${tasks.greet.result.text}"
"""
FAILING = "{name: failing, tasks: {bad: {agent: goclaw.fail, with: {message: no luck}}}}"
TRIP = """
name: trip
steps:
  seat: {action: {agent: goclaw.echo}, compensation: {agent: goclaw.fail}}
  room: {action: {agent: goclaw.fail}, needs: [seat]}
"""
LONG = "{name: long, tasks: {w: {wait: 1h}}}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with workflows, on whose `d` an engine runs for all the tests."""
    folder = tmp_path_factory.mktemp("engine")
    for name, text in (("hello", HELLO), ("failing", FAILING), ("long", LONG), ("trip", TRIP)):
        (folder / f"{name}.yaml").write_text(text)
    process = start(folder, "engine", "start", "--data-dir", "d")
    assert process.stderr is not None
    try:
        read_until(process.stderr, b"engine ready")
        yield folder
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert lock_holder(folder / "d") is None
    assert not (folder / "d" / "engine.sock").exists()


@pytest.fixture
def data(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in that folder; return the data directory, known to every command."""
    monkeypatch.chdir(here)
    monkeypatch.setenv("GOCLAW_DATA_DIR", str(here / "d"))
    return here / "d"


def called(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, Any]:
    """Run a command with `--json`; return its exit code and what it printed."""
    code = main([*[str(arg) for arg in args], "--json"])
    out = capsys.readouterr().out
    return code, last_json(out) if out else None


# What each command is called with, and how it ends; {new} is a name that is not taken.
CALLS: dict[str, tuple[str, int]] = {
    "backup": ("backup {new}", 0),
    "approve": ("approve long1 w", 7),
    "reject": ("reject long1 w", 7),
    "inbox": ("inbox --mine", 0),
    "collect": ("collect hello1/greet hello1 --id c1", 0),
    "collectors list": ("collectors list", 0),
    "collectors show": ("collectors show c1", 0),
    "collectors close": ("collectors close c1", 0),
    "collectors cancel": ("collectors cancel c1", 7),
    "completion": ("completion bash", 0),
    "config schema": ("config schema", 0),
    "config show": ("config show", 0),
    "config validate": ("config validate", 0),
    "dead discard": ("dead discard hello1/greet", 3),
    "dead list": ("dead list --groups", 0),
    "dead redrive": ("dead redrive hello1/greet", 3),
    "dead show": ("dead show hello1/greet", 3),
    "demo": ("", 0),
    "doctor": ("doctor", 0),
    "engine log-level": ("engine log-level info", 0),
    "engine start": ("engine start", 5),
    "engine status": ("engine status", 0),
    "engine stop": ("", 0),
    "fsck": ("fsck", 5),
    "import wfformat": ("", 0),
    "lanes drain": ("lanes drain /default", 0),
    "lanes list": ("lanes list --busy", 0),
    "lanes pause": ("lanes pause /default", 0),
    "lanes resume": ("lanes resume /default", 0),
    "lanes set": ("lanes set hello/nothing concurrency=1", 3),
    "lanes show": ("lanes show /default", 0),
    "log archive": ("log archive", 0),
    "log compact": ("log compact", 0),
    "log expire": ("log expire --before 1d --yes", 0),
    "log export": ("log export -o {new}", 0),
    "log import": ("log import whole.export", 7),
    "log show": ("log show --limit 3", 0),
    "log tail": ("log tail", 0),
    "log verify": ("log verify", 0),
    "path add": ("path add long1 --need w=w", 2),
    "path choose": ("path choose long1 w w", 2),
    "path replace": ("path replace long1 --file missing.yaml", 2),
    "path rerun": ("path rerun hello1 greet", 7),
    "path skip": ("path skip hello1 greet", 7),
    "plan": ("plan hello.yaml --history", 0),
    "replay": ("replay", 0),
    "restore": ("restore new0", 7),
    "resume": ("resume", 0),
    "run": ("run hello.yaml --input who=you", 0),
    "runs cancel": ("runs cancel long1", 0),
    "runs list": ("runs list", 0),
    "runs result": ("runs result hello1", 0),
    "runs show": ("runs show hello1 --critical", 0),
    "runs tail": ("runs tail hello1", 0),
    "sagas compensate": ("sagas compensate trip1", 7),
    "sagas list": ("sagas list", 0),
    "sagas resolve": ("sagas resolve trip1 --reason done", 0),
    "sagas resume": ("sagas resume", 0),
    "sagas retry": ("sagas retry trip1", 7),
    "sagas run": ("sagas run trip.yaml", 1),
    "sagas show": ("sagas show trip1 --timeline", 0),
    "schedules create": ("schedules create daily hello.yaml --cron @daily --input who=x", 0),
    "schedules delete": ("schedules delete daily", 0),
    "schedules list": ("schedules list", 0),
    "schedules pause": ("schedules pause hourly", 0),
    "schedules resume": ("schedules resume hourly", 0),
    "schedules show": ("schedules show hourly", 0),
    "schedules trigger": ("schedules trigger hourly", 0),
    "schema": ("schema workflow", 0),
    "signal adjust": ("signal adjust long1 w --priority 1", 7),
    "signal interrupt": ("signal interrupt long1 w", 7),
    "signal pause": ("signal pause long1", 7),
    "signal resume": ("signal resume long1", 7),
    "signal message": ("signal message long1 --text hi", 7),
    "signal send": ("signal send long1 go --body 1", 7),
    "signal state": ("signal state long1 some", 3),
    "signal steer": ("signal steer long1 --set n=1", 7),
    "signal withdraw": ("signal withdraw long1 some", 3),
    "submit": ("submit hello --input who=me", 0),
    "validate": ("validate hello.yaml", 0),
    "version": ("version", 0),
    "views counts": ("views counts --by-hour", 0),
    "views lanes": ("views lanes --busy", 0),
    "views rebuild": ("views rebuild lanes", 0),
    "views status": ("views status", 0),
    "views workers": ("views workers --attempts", 0),
    "watch events": ("watch events --for 0.1", 0),
    "watch lanes": ("watch lanes --for 0.1", 0),
    "watch runs": ("watch runs --for 0.1", 0),
    "why": ("why @last", 0),
    "workflows list": ("workflows list", 0),
    "workflows register": ("workflows register hello.yaml", 0),
    "workflows show": ("workflows show hello", 0),
}
"""An empty call: the command touches no data directory, or has a test of its own below."""


def test_every_command_works_beside_an_engine(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    """Each is answered by the engine, or works beside it, or says `engine_running`: exit 5."""
    known = {path.removeprefix("goclaw ") for path, _ in commands()}
    unsaid = {name for name in known - set(CALLS) if not name.startswith("bench ")}
    assert unsaid == set(), "say above how a new command is called beside an engine"
    assert called(capsys, "workflows", "register", "hello.yaml")[0] == 0
    assert called(capsys, "run", "hello.yaml", "--input", "who=x", "--run-id", "hello1")[0] == 0
    assert called(capsys, "run", "long.yaml", "--run-id", "long1", "--detach")[0] == 0
    assert called(capsys, "sagas", "run", "trip.yaml", "--saga-id", "trip1")[0] == 1
    hourly = ("--cron", "@hourly", "--input", "who=x")
    assert called(capsys, "schedules", "create", "hourly", "hello.yaml", *hourly)[0] == 0
    assert called(capsys, "log", "export", "-o", "whole.export")[0] == 0
    ends = {}
    ordered = sorted(CALLS, key=lambda name: name == "resume")  # when nothing waits any more
    for number, name in enumerate(ordered):
        line, expected = CALLS[name]
        if name in known and line:
            words = line.format(new=f"new{number}").split()
            code, found = called(capsys, *words)
            ends[name] = (code, found["error"]["code"] if code else None)
            assert code == expected, (name, found)
    assert ends["engine start"] == (5, "engine_running")
    assert ends["fsck"] == (5, "engine_running")
    assert not (data / "copies").exists()


def test_a_run_of_the_engine_is_followed(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """`goclaw run` gives its file to the engine: its result, its exit codes, its faults."""
    code, record = called(capsys, "run", "hello.yaml", "--input", "who=you", "--label", "a=b")
    assert (code, record["result"], list(record["tasks"])) == (0, "hello you", ["greet"])
    code, record = called(capsys, "run", "failing.yaml")
    assert (code, record["error"]["code"]) == (1, "agent_error")
    (data.parent / "unknown.yaml").write_text("{name: x, tasks: {a: {agent: no.such}}}")
    code, error = called(capsys, "run", "unknown.yaml")
    assert (code, error["error"]["code"]) == (3, "agent_unknown")
    code, error = called(capsys, "run", "hello.yaml", "--input", "who=1", "--run-id", "twice")
    code, error = called(capsys, "run", "hello.yaml", "--input", "who=2", "--run-id", "twice")
    assert (code, error["error"]["code"]) == (7, "command_conflict")
    code, record = called(capsys, "run", "long.yaml", "--timeout", "0.05")
    assert (code, record["status"]) == (4, "running")
    assert main(["run", "long.yaml", "--run-id", record["run_id"], "--timeout", "0.05"]) == 4
    err = capsys.readouterr().err
    assert f"goclaw runs tail {record['run_id']}" in err
    assert called(capsys, "runs", "cancel", record["run_id"])[0] == 0


def test_an_interrupt_only_stops_watching(
    capsys: pytest.CaptureFixture[str], data: Path, here: Path
) -> None:
    """Exit 130, and how to follow the run, which the engine goes on with."""
    process = start(here, "run", "long.yaml", "--run-id", "watched", "--data-dir", "d")
    assert process.stderr is not None
    read_until(process.stderr, b"run watched")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, b"the engine goes on" in err) == (130, True)
    assert b"goclaw runs tail watched --data-dir d" in err
    assert called(capsys, "runs", "show", "watched")[1]["status"] == "running"
    assert called(capsys, "runs", "cancel", "watched")[0] == 0


def test_submit_by_name(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """Texts become what the definition wants; --wait gives the result; labels are found again."""
    assert called(capsys, "workflows", "register", "hello.yaml")[1]["version"] == "1.0"
    words = ("submit", "hello@1.0", "--input", "who=7", "--input", "times=2", "--label", "k=v")
    code, ended = called(capsys, *words, "--wait")
    assert (code, ended["result"]) == (0, "hello 7")
    code, page = called(capsys, "runs", "list", "--label", "k=v")
    assert [run["run_id"] for run in page] == [ended["run_id"]]
    code, error = called(capsys, "submit", "hello", "--input", "whom=7")
    assert (code, error["error"]["code"]) == (2, "invalid_input")
    code, error = called(capsys, "submit", "hallo")
    assert (code, error["error"]["code"]) == (3, "definition_not_found")
    code, error = called(capsys, "submit", "hello.yaml")
    assert (code, error["error"]["hint"]) == (3, "it is a file: goclaw run hello.yaml --detach")
    code, first = called(capsys, "submit", "hello", "--input", "who=1", "--idempotency-key", "k")
    code, again = called(capsys, "submit", "hello", "--input", "who=1", "--idempotency-key", "k")
    assert (first["run_id"], first["repeated"]) == (again["run_id"], False)
    assert again["repeated"]
    assert main(["submit", "hello", "--input", "who=2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("run_")
    assert "runs tail" in err
    (data.parent / "other.yaml").write_text(HELLO.replace("hello ", "goodbye "))
    code, error = called(capsys, "workflows", "register", "other.yaml")
    assert (code, error["error"]["code"]) == (7, "definition_conflict")


def test_a_repeat_by_name_means_the_version_of_the_first_request(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    """A script that asks again after a new version was registered gets what it began."""
    answers = []
    for text in ("one", "two"):
        tasks = f"tasks: {{a: {{agent: goclaw.echo, with: {{text: {text}}}}}}}\n"
        (data.parent / "again.yaml").write_text("name: again\n" + tasks)
        assert called(capsys, "workflows", "register", "again.yaml")[0] == 0
        answers.append(called(capsys, "submit", "again", "--idempotency-key", "k")[1])
    assert answers[0]["run_id"] == answers[1]["run_id"]
    assert [answer["repeated"] for answer in answers] == [False, True]


def test_a_run_is_followed_to_its_end(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """`runs tail` prints each fact once and exits as the run ended."""
    main(["run", "failing.yaml", "--run-id", "sad", "--detach"])
    capsys.readouterr()
    assert main(["runs", "tail", "sad", "--ndjson"]) == 1
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (facts[0]["type"], facts[-1]["type"]) == ("run.submitted", "run.failed")
    code, summary = called(capsys, "runs", "tail", "sad", "--new")
    assert (code, summary["status"]) == (1, "failed")
    assert called(capsys, "runs", "tail", "nobody")[0] == 3


def test_the_engine_says_how_it_is(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """Figures of another process; its log level is changed while it runs."""
    code, status = called(capsys, "engine", "status")
    assert (code, status["running"], status["state"]) == (0, True, "running")
    assert status["pid"] != os.getpid()
    assert status["data_dir"] == str(data.resolve())
    code, levels = called(capsys, "engine", "log-level", "debug", "--logger", "goclaw.wire")
    assert (code, levels["levels"]["goclaw.wire"]) == (0, "debug")
    assert levels["levels"][""] == "info"
    assert main(["engine", "status"]) == 0
    assert "running" in capsys.readouterr().out


def test_an_engine_in_the_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--detach` returns when it is ready, tells why it is not, and `stop` waits for its end."""
    monkeypatch.chdir(tmp_path)
    code, status = called(capsys, "engine", "status", "--data-dir", "d")
    assert (code, status) == (3, {"running": False})
    code, error = called(capsys, "engine", "stop", "--data-dir", "d")
    assert (code, error["error"]["code"]) == (5, "engine_not_running")
    code, error = called(capsys, "submit", "x", "--data-dir", "d")
    assert (code, error["error"]["code"]) == (5, "engine_not_running")
    assert "goclaw engine start" in error["error"]["hint"]
    code, error = called(
        capsys, "engine", "start", "--detach", "--data-dir", "d", "--module", "no_such_module"
    )
    assert (code, error["error"]["code"]) == (2, "module_failed")
    code, status = called(capsys, "engine", "start", "--detach", "--data-dir", "d")
    assert (code, status["running"]) == (0, True)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    code, stopped = called(capsys, "engine", "stop", "--data-dir", "d")
    assert (code, stopped) == (0, {"pid": status["pid"], "running": False})
    assert lock_holder(tmp_path / "d") is None
    assert "the engine has stopped" in (tmp_path / "d" / "logs" / "engine.log").read_text()


def test_without_an_engine_commands_act_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Register, list, cancel, tail: the directory is opened, and closed again; nothing runs."""
    prepare(tmp_path)
    process = start_blocked(tmp_path, "--run-id", "r", "--data-dir", "d")
    process.kill()
    process.communicate(timeout=30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOCLAW_DATA_DIR", "d")
    (tmp_path / "hello.yaml").write_text(HELLO)
    assert called(capsys, "workflows", "register", "hello.yaml")[1]["version"] == "1.0"
    assert [row["name"] for row in called(capsys, "workflows", "list")[1]] == ["hello"]
    code, summary = called(capsys, "runs", "tail", "r")
    assert (code, summary["status"]) == (5, "running")
    facts = called(capsys, "runs", "show", "r", "--timeline")[1]["timeline"]
    briefs = [fact["brief"] for fact in facts if fact["type"].startswith("task.attempt")]
    assert set(briefs) == {"attempt 1"}
    assert called(capsys, "runs", "cancel", "r", "--reason", "enough")[0] == 0
    code, record = called(capsys, "runs", "show", "r")
    assert (code, record["status"]) == (0, "cancelled")
    assert called(capsys, "runs", "cancel", "r")[0] == 7
    assert called(capsys, "replay", "--verify")[1]["verified"]
    assert called(capsys, "runs", "cancel", "x", "--data-dir", "nowhere")[0] == 3
    assert not (tmp_path / "nowhere").exists()


def test_an_engine_does_not_start_without_the_agents_of_what_is_unfinished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 names them; with their module it goes on with the run."""
    prepare(tmp_path)
    process = start_blocked(tmp_path, "--run-id", "r", "--data-dir", "d")
    process.kill()
    process.communicate(timeout=30)
    monkeypatch.chdir(tmp_path)
    words = ("engine", "start", "--detach", "--data-dir", "d")
    code, error = called(capsys, *words)
    assert (code, error["error"]["code"]) == (2, "agents_missing")
    assert called(capsys, *words, "--module", "work")[0] == 0
    try:
        code, summary = called(capsys, "runs", "tail", "r", "--data-dir", "d")
        assert (code, summary["status"]) == (0, "completed")
        assert called(capsys, "resume", "--data-dir", "d") == (0, {"resumed": []})
    finally:
        assert called(capsys, "engine", "stop", "--data-dir", "d")[0] == 0


def test_an_engine_judges_programs_by_its_own_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the caller allows opens nothing, what he does not allow closes nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOCLAW_DATA_DIR", "d")
    for name in ("echo", "cat"):
        (tmp_path / f"{name}.yaml").write_text(
            f"{{name: {name}, tasks: {{a: {{exec: [{name}]}}}}}}"
        )
    monkeypatch.setenv("GOCLAW_EXECUTORS__EXEC__ALLOW", "echo")
    assert called(capsys, "engine", "start", "--detach")[0] == 0
    try:
        monkeypatch.setenv("GOCLAW_EXECUTORS__EXEC__ALLOW", "cat")
        for more in ((), ("--detach",)):
            code, found = called(capsys, "run", "echo.yaml", *more)
            assert code == 0, found
            for allowed in ((), ("--allow-exec",)):
                code, found = called(capsys, "run", "cat.yaml", *more, *allowed)
                assert (code, found["error"]["code"]) == (2, "exec_not_allowed")
    finally:
        assert called(capsys, "engine", "stop")[0] == 0
