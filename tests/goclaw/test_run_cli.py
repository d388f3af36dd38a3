"""`goclaw run`: what it takes, what it prints, how it ends."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from goclaw.cli import main
from tests.goclaw.processes import last_json, prepare, read_until, start_blocked

if TYPE_CHECKING:
    from pathlib import Path

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\Z")
HELLO = """
name: hello
input:
  who: {type: string, default: world}
  times: {type: integer, default: 1}
  more: {default: null}
tasks:
  greet: {agent: goclaw.echo, with: {text: "hello ${input.who}", times: "${input.times}"}}
  again: {agent: goclaw.echo, needs: [greet], with: {said: "${tasks.greet.result}"}}
output: {said: "${tasks.again.result.said}", more: "${input.more}"}
"""
FAILING = """
name: failing
tasks:
  good: {agent: goclaw.echo}
  bad: {agent: goclaw.fail, needs: [good], with: {message: no luck, code: bad_luck}}
  after: {agent: goclaw.echo, needs: [bad]}
"""
WAITING = "{name: waiting, tasks: {long: {wait: 1h}}}"

Called = tuple[int, list[str], str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder with the workflows in it."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("hello", HELLO), ("failing", FAILING), ("waiting", WAITING)):
        (tmp_path / f"{name}.yaml").write_text(text)


def called(capsys: pytest.CaptureFixture[str], *args: object) -> Called:
    """Run a command; return exit code, lines of stdout, and stderr."""
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out.splitlines(), out.err


def test_run_prints_the_result_on_stdout_and_progress_on_stderr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Stdout is JSON and nothing else; the data directory is ./.goclaw unless said otherwise."""
    code, lines, err = called(capsys, "run", "hello.yaml", "--input", "who=you")
    assert code == 0
    assert json.loads("\n".join(lines)) == {"said": {"text": "hello you", "times": 1}, "more": None}
    assert "greet completed" in err
    assert "completed after" in err
    assert (tmp_path / ".goclaw" / "log" / "CURRENT").exists()


def test_json_is_one_object_on_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It tells the run and every task, times with nine digits, the position as text."""
    code, lines, _ = called(capsys, "run", "hello.yaml", "--json", "--run-id", "r1")
    assert code == 0
    record = last_json(lines[-1])
    assert {"run_id", "status", "result", "duration_s", "position", "tasks"} <= set(record)
    assert (record["run_id"], record["status"], record["error"]) == ("r1", "completed", None)
    assert record["result"]["said"] == {"text": "hello world", "times": 1}
    assert re.fullmatch(r"0:[1-9]\d*", record["position"])
    assert 0 < record["duration_s"] < 60
    assert list(record["tasks"]) == ["greet", "again"]
    for task in record["tasks"].values():
        assert set(task) == {"status", "attempts", "started_at", "completed_at", "error"}
        assert (task["status"], task["attempts"], task["error"]) == ("completed", 1, None)
        assert TIME.match(task["started_at"])
        assert TIME.match(task["completed_at"])


def test_a_failed_run_exits_1_and_tells_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    """The failed task has its error; what could not begin any more is cancelled."""
    code, lines, err = called(capsys, "run", "failing.yaml", "--json")
    record = last_json(lines[-1])
    assert (code, record["status"], record["result"]) == (1, "failed", None)
    assert record["error"] == {"code": "bad_luck", "message": "no luck", "task": "bad"}
    assert record["tasks"]["bad"]["error"] == {"code": "bad_luck", "message": "no luck"}
    statuses = {task: told["status"] for task, told in record["tasks"].items()}
    assert statuses == {"good": "completed", "bad": "failed", "after": "cancelled"}
    assert "no luck [bad_luck] (task bad)" in err
    assert f"runs show {record['run_id']}" in err
    code, lines, _ = called(capsys, "run", "failing.yaml")
    assert (code, lines) == (1, [])


def test_a_task_that_cannot_begin_is_told_as_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What its template yields is no duration: so it failed, and says why, everywhere."""
    file = tmp_path / "wait.yaml"
    file.write_text(
        "name: wait\ninput: {d: {type: string}}\ntasks: {a: {wait: '${input.d}'}, b: {wait: 9m}}\n"
    )
    code, lines, err = called(capsys, "run", str(file), "--input", "d=soon", "--json")
    record = last_json(lines[-1])
    assert (code, record["tasks"]["a"]["status"]) == (1, "failed")
    assert record["tasks"]["a"]["error"]["code"] == "invalid_duration"
    assert record["tasks"]["b"]["status"] == "cancelled"
    assert "  a failed" in err


@pytest.mark.parametrize(
    ("text", "value"),
    [("more=[1, 2]", [1, 2]), ("more=text", "text"), ("more=NaN", "NaN"), ("more=a=b", "a=b"),
     ('more="quoted"', "quoted"), ("more=", "")],
)  # fmt: skip
def test_an_input_is_json_where_it_is_json(
    capsys: pytest.CaptureFixture[str], text: str, value: object
) -> None:
    """Anything else is the text itself."""
    _, lines, _ = called(capsys, "run", "hello.yaml", "--json", "--input", text)
    assert last_json(lines[-1])["result"]["more"] == value


def test_inputs_come_from_a_file_and_from_options(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The option wins; a string stays one, whatever it looks like; YAML is read as well."""
    (tmp_path / "given.json").write_text('{"who": "file", "times": 3, "more": {"a": 1}}')
    (tmp_path / "given.yaml").write_text("times: 4\n")
    options = ("--json", "--input-file", "given.json", "--input", "who=42")
    _, lines, _ = called(capsys, "run", "hello.yaml", *options)
    result = last_json(lines[-1])["result"]
    assert result == {"said": {"text": "hello 42", "times": 3}, "more": {"a": 1}}
    _, lines, _ = called(capsys, "run", "hello.yaml", "--json", "--input-file", "given.yaml")
    assert last_json(lines[-1])["result"]["said"]["times"] == 4


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["hello.yaml", "--input", "hwo=x"], "invalid_input"),
        (["hello.yaml", "--input", "times=often"], "invalid_input"),
        (["hello.yaml", "--input", "times"], "usage"),
        (["hello.yaml", "--input-file", "missing.json"], "usage"),
        (["hello.yaml", "--input-file", "hello.yaml.json"], "usage"),
        (["hello.yaml", "--run-id", "no id"], "invalid_id"),
        (["hello.yaml", "--module", "no_such_module"], "module_failed"),
        (["hello.yaml", "--timeout", "-1"], "usage"),
        (["missing.yaml"], "invalid_definition"),
        ([], "usage"),
    ],
)
def test_what_cannot_begin_exits_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, args: list[str], code: str
) -> None:
    """Stderr has the code, and with --json the last line has the error."""
    (tmp_path / "hello.yaml.json").write_text("[1]")
    exit_code, lines, err = called(capsys, "run", *args, "--json")
    assert exit_code == 2
    assert last_json(lines[-1])["error"]["code"] == code
    assert f"error[{code}]" in err


def test_unknown_agents_are_all_reported_with_their_places(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit 2; each fault has its line, what was probably meant, and how agents are found."""
    (tmp_path / "typo.yaml").write_text(
        "name: typo\ntasks:\n  a: {agent: goclaw.ecko}\n  b: {agent: mine.alone}\n"
    )
    code, lines, _ = called(capsys, "run", "typo.yaml", "--json")
    faults = last_json(lines[-1])["error"]["details"]["faults"]
    assert code == 2
    assert [(f["code"], f["path"], f["line"]) for f in faults] == [
        ("agent_unknown", "tasks.a.agent", 3),
        ("agent_unknown", "tasks.b.agent", 4),
    ]
    assert "did you mean 'goclaw.echo'?" in faults[0]["hint"]
    assert "--module" in faults[1]["hint"]
    assert "--trust-dir" in faults[1]["hint"]


@pytest.mark.parametrize("way", ["module", "settings", "trust"])
def test_agents_come_from_named_modules_and_from_a_trusted_folder(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """By --module, by the setting agents.modules, or by --trust-dir for the file's folder."""
    folder = tmp_path if way != "trust" else tmp_path / "flows"
    folder.mkdir(exist_ok=True)
    agents = f"import goclaw\n\n@goclaw.agent('mine.{way}')\ndef f(ctx):\n    return '{way}'\n"
    (folder / f"agents_of_{way}.py").write_text(agents)
    (folder / "own.yaml").write_text(f"{{name: own, tasks: {{t: {{agent: mine.{way}}}}}}}")
    options = {"module": ["--module", f"agents_of_{way}"], "trust": ["--trust-dir"]}.get(way, [])
    if way == "settings":
        monkeypatch.setenv("GOCLAW_AGENTS__MODULES", f"agents_of_{way}")
    code, lines, _ = called(capsys, "run", folder / "own.yaml", "--json", *options)
    assert (code, last_json(lines[-1])["result"]) == (0, way)


def test_the_same_run_id_is_the_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The same request again gives the result that is recorded; another one is a conflict."""
    options = ("hello.yaml", "--json", "--run-id", "once")
    first = last_json(called(capsys, "run", *options)[1][-1])
    second = last_json(called(capsys, "run", *options)[1][-1])
    assert second == first
    code, lines, _ = called(capsys, "run", *options, "--input", "who=else")
    assert (code, last_json(lines[-1])["error"]["code"]) == (7, "command_conflict")


def test_labels_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """They can be listed by."""
    called(capsys, "run", "hello.yaml", "--label", "team=red", "--label", "tier=1")
    _, lines, _ = called(capsys, "runs", "list", "--label", "tier=1", "--json")
    assert [run["labels"] for run in last_json(lines[-1])] == [{"team": "red", "tier": "1"}]


def test_a_timeout_exits_4_and_keeps_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how to go on; the record tells how far it came."""
    code, lines, err = called(capsys, "run", "waiting.yaml", "--json", "--timeout", "0.2")
    record = last_json(lines[-1])
    assert (code, record["status"], record["duration_s"]) == (4, "running", None)
    assert record["tasks"]["long"]["status"] == "waiting"
    assert "goclaw resume --data-dir .goclaw" in err
    _, lines, _ = called(capsys, "runs", "list", "--json")
    assert [run["status"] for run in last_json(lines[-1])] == ["running"]


def test_the_first_interrupt_stops_gracefully_and_says_how_to_resume(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit 130 after the engine has closed; meanwhile others talk to it, or are told it runs."""
    prepare(tmp_path)
    process = start_blocked(tmp_path, "--json", "--data-dir", "d", "--trust-dir")
    code, lines, _ = called(capsys, "runs", "list", "--data-dir", "d", "--json")
    assert (code, [run["status"] for run in last_json(lines[-1])]) == (0, ["running"])
    code, lines, _ = called(capsys, "fsck", "--data-dir", "d", "--json")
    assert (code, last_json(lines[-1])["error"]["code"]) == (5, "engine_running")
    code, lines, _ = called(capsys, "run", "hello.yaml", "--data-dir", "d", "--json")
    assert (code, last_json(lines[-1])["status"]) == (0, "completed")  # it ran over there
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    record = last_json(out)
    assert (process.returncode, record["status"]) == (130, "running")
    assert record["tasks"]["second"]["status"] == "running"
    assert b"goclaw resume --data-dir d --module work --trust-dir ." in err
    assert b'"level": "error"' not in err
    code, lines, _ = called(
        capsys, "resume", "--data-dir", "d", "--module", "work", "--trust-dir", ".", "--json"
    )
    resumed = [{"run_id": record["run_id"], "status": "completed"}]
    assert (code, last_json(lines[-1])) == (0, {"resumed": resumed})


def test_the_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    """Also while an agent that hears nothing is waited for."""
    prepare(tmp_path)
    process = start_blocked(tmp_path, "--input", "deaf=true")
    assert process.stderr is not None
    process.send_signal(signal.SIGTERM)
    read_until(process.stderr, b"stopping")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=4)  # less than the grace that the agent would be given
    assert process.returncode == 130


def test_results_that_json_cannot_say_are_printed_all_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Bytes are marked, numbers that are not finite are null, nothing steers a terminal."""
    agents = (
        "import goclaw\n\n@goclaw.agent('odd.values')\ndef f(ctx):\n"
        "    return {'bytes': b'\\x00', 'nan': float('nan'), 'text': '\\x1b[31m\\x9b', "
        "'big': 'x' * 200_000}\n"
    )
    (tmp_path / "odd.py").write_text(agents)
    (tmp_path / "odd.yaml").write_text("{name: odd, tasks: {t: {agent: odd.values}}}")
    code, lines, _ = called(capsys, "run", "odd.yaml", "--module", "odd")
    shown: dict[str, Any] = json.loads("\n".join(lines))
    assert code == 0
    assert (shown["bytes"], shown["nan"]) == ({"$bytes": "00"}, None)
    assert len(shown["big"]) == 200_000
    assert not any("\x1b" in line or "\x9b" in line for line in lines)
