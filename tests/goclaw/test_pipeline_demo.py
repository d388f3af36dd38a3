"""The pipeline of the demo: requests, child runs and programs, from YAML alone."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.demo import pipeline
from goclaw.demo.library import BUSY_AT_FIRST, Library
from goclaw_actors.task.child import child_id
from tests.goclaw.processes import last_json, read_until, start

if TYPE_CHECKING:
    from pathlib import Path

KEY = "canary-4f1d9ab2c37e"
BEGINNING = "     35 the\n     21 of\n"


@pytest.fixture(name="key")
def _key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: KEY)
    monkeypatch.delenv(f"GOCLAW_SECRET_{pipeline.SECRET}", raising=False)
    return KEY


def told(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, Any]:
    """Run a command with `--json`; return its exit code and what it says."""
    code = main([*map(str, args), "--json"])
    return code, last_json(capsys.readouterr().out)


def test_three_documents_are_fetched_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    """The busy one is asked again when it said; the key is seen nowhere, not on the disk either."""
    data = tmp_path / "data"
    assert main(["demo", "--pipeline", "--data-dir", str(data)]) == 0
    out = capsys.readouterr()
    assert BEGINNING in out.out
    assert "Asked with 'Bearer [secret LIBRARY_KEY]', kept as report 1" in out.out
    code, record = told(capsys, "runs", "show", "@last", "--data-dir", data)
    assert code == 0
    assert {task["status"] for task in record["tasks"].values()} == {"completed"}
    busy = child_id(record["run_id"], "third", 0, 1)
    _, child = told(capsys, "runs", "show", busy, "--critical", "--data-dir", data)
    assert child["tasks"]["fetch"]["attempts"] == 2
    assert child["duration_s"] >= 1.0, "it was asked before the second was over"
    files = [path for path in data.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if key.encode() in path.read_bytes()] == []
    assert key not in out.out + out.err
    assert f"GOCLAW_SECRET_{pipeline.SECRET}" not in os.environ


def test_killed_half_way_it_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same run, its library at the same address; what had completed is not done again."""
    process = start(tmp_path, "demo", "--pipeline", "--data-dir", "data")
    assert process.stderr is not None
    read_until(process.stderr, b"second completed")
    process.kill()
    process.communicate(timeout=60)
    where = ["--data-dir", tmp_path / "data"]
    _, (left,) = told(capsys, "runs", "list", "--name", "demo-words", *where)
    assert left["status"] == "running"
    code, record = told(capsys, "demo", "--pipeline", *where)
    assert (code, record["run_id"]) == (0, left["run_id"])
    assert record["result"]["top"].startswith(BEGINNING)
    assert record["tasks"]["catalogue"]["attempts"] == record["tasks"]["second"]["attempts"] == 1


def test_nothing_is_allowed_but_for_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    """The settings afterwards are those from before: the file alone may run nothing."""
    settings = goclaw.Settings(data_dir=tmp_path / "data")
    with pipeline.open_pipeline(settings) as ready:
        port = ready.request.input["library"].rpartition(":")[2]
        assert ready.settings.executors.http.allow_private == (f"127.0.0.1:{port}",)
        assert ready.settings.executors.exec.allow == pipeline.PROGRAMS
        assert os.environ[f"GOCLAW_SECRET_{pipeline.SECRET}"] == key
        with pytest.raises(OSError, match="in use"):
            Library(key, int(port))
    assert settings.executors.exec.allow == settings.executors.http.allow_private == ()
    given = ("run", pipeline.FILE, "--input", "library=http://127.0.0.1:1")
    code, said = told(capsys, *given, "--data-dir", tmp_path / "data")
    assert (code, said["error"]["code"]) == (2, "exec_not_allowed")


def test_an_engine_of_its_own_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What that one may run and reach is not the demo's to say: exit 5, and another directory."""

    async def beside() -> tuple[int, Any]:
        async with goclaw.Engine(tmp_path):
            return await asyncio.to_thread(
                told, capsys, "demo", "--pipeline", "--data-dir", tmp_path
            )

    code, said = asyncio.run(beside())
    assert (code, said["error"]["code"]) == (5, "engine_running")
    assert "--data-dir" in said["error"]["hint"]


def test_the_pipeline_takes_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2: it audits nothing."""
    code, said = told(capsys, "demo", "--pipeline", ".")
    assert (code, said["error"]["code"]) == (2, "usage")


def test_the_library_asks_for_its_key_and_keeps_a_report_once() -> None:
    """The same idempotency key is the same report; the first request for a document waits."""
    library = Library(KEY)
    with library:
        known = {"Authorization": f"Bearer {KEY}"}
        assert library.answer("GET", "/documents", {}, b"").status == 401
        busy = library.answer("GET", BUSY_AT_FIRST, known, b"")
        assert (busy.status, busy.headers) == (503, {"Retry-After": "1"})
        assert library.answer("GET", BUSY_AT_FIRST, known, b"").status == 200
        assert library.answer("GET", "/documents/nothing", known, b"").status == 404
        body = json.dumps({"words": "1 a"}).encode()
        for name, number in (("a", 1), ("a", 1), ("b", 2)):
            sent = {**known, "Idempotency-Key": name}
            assert library.answer("POST", "/reports", sent, body).body == {"report": number}
