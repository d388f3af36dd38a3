"""Logging: what a record becomes, and that nobody waits for it."""

from __future__ import annotations

import io
import json
import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw import logs
from goclaw.config import LogSettings
from goclaw.logs import configure_logs, rfc3339
from goclaw_actors.executors.context import RUN_ID, TASK_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOG = logging.getLogger("goclaw.tests")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """Leave the loggers as they were, whatever the test did."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def written(say: Callable[[], object], stream: io.StringIO | None = None, **settings: Any) -> str:
    """Return what is written to the stream while `say` runs."""
    stream = stream or io.StringIO()
    close = configure_logs(LogSettings(**settings), stream)
    try:
        say()
    finally:
        close()
    return stream.getvalue()


def lines(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_record_becomes_one_json_line() -> None:
    """Away from a terminal a record is one JSON line: time, level, logger, event, extras."""

    def say() -> None:
        LOG.info("took %d", 3, extra={"action": "run.started", "n": 1})

    (line,) = lines(written(say))
    assert len(line.pop("time")) == len("2026-01-01T00:00:00.123456789Z")
    assert line == {
        "level": "info",
        "logger": "goclaw.tests",
        "event": "took 3",
        "action": "run.started",
        "n": 1,
    }


def test_a_terminal_gets_pretty_lines() -> None:
    """On a terminal lines are for people, coloured unless NO_COLOR is set."""
    text = written(lambda: LOG.warning("hello"), Terminal())
    assert "hello" in text
    assert "\x1b[" in text
    assert not text.startswith("{")


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR there is no escape sequence."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in written(lambda: LOG.warning("hello"), Terminal())


@pytest.mark.parametrize(("form", "pretty"), [("pretty", True), ("json", False)])
def test_the_format_can_be_chosen(form: str, pretty: bool) -> None:
    """`format` decides against what the stream is."""
    stream = io.StringIO() if pretty else Terminal()
    text = written(lambda: LOG.warning("hello"), stream, format=form)
    assert text.startswith("{") is not pretty


@pytest.mark.parametrize("form", ["pretty", "json"])
def test_data_cannot_forge_a_line(form: str) -> None:
    """Newlines and escape sequences from data are written out, not obeyed."""
    text = written(lambda: LOG.info("a\n%s", "b\x1b[31m\r", extra={"k": "c\nd"}), format=form)
    assert text.count("\n") == 1
    assert "\x1b" not in text


def test_the_level_holds_and_others_are_quiet() -> None:
    """Records below the level are not written; pykka speaks from `warning` on."""

    def say() -> None:
        LOG.debug("no")
        LOG.info("yes")
        logging.getLogger("pykka").info("no")
        logging.getLogger("pykka").warning("yes")

    assert [line["event"] for line in lines(written(say))] == ["yes", "yes"]
    assert [line["event"] for line in lines(written(say, level="debug"))] == ["no", "yes", "yes"]


def test_run_and_task_are_bound() -> None:
    """A record says during which run and task it was logged, on the thread that logged it."""

    def work() -> None:
        RUN_ID.set("r1")
        TASK_ID.set("t1")
        LOG.info("inside")

    def say() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        LOG.info("outside")

    inside, outside = lines(written(say))
    assert (inside["run_id"], inside["task_id"]) == ("r1", "t1")
    assert "run_id" not in outside


def test_an_exception_keeps_its_traceback() -> None:
    """A traceback is one field of the JSON line."""

    def say() -> None:
        try:
            int("broken")
        except ValueError:
            LOG.exception("failed")

    (line,) = lines(written(say))
    assert line["event"] == "failed"
    assert "ValueError: invalid literal" in line["exception"]


def test_a_file_is_rotated(tmp_path: Path) -> None:
    """The file starts anew when full; so many files are kept, and it holds JSON lines."""
    file = tmp_path / "logs" / "goclaw.log"

    def say() -> None:
        for number in range(200):
            LOG.info("number %d", number)

    written(say, file=file, file_bytes_max=4096, file_count=3, format="pretty")
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == ["goclaw.log", "goclaw.log.1", "goclaw.log.2"]
    assert lines(file.read_text())[-1]["event"] == "number 199"
    assert all(path.stat().st_size <= 4096 for path in file.parent.iterdir())


def test_nobody_waits_when_the_writer_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stream that blocks, logging returns; what finds no room is counted and said."""
    monkeypatch.setattr(logs, "QUEUED_MAX", 10)
    go_on = threading.Event()

    class Hanging(io.StringIO):
        def write(self, text: str) -> int:
            go_on.wait(30)
            return super().write(text)

    stream = Hanging()

    def say() -> None:
        for number in range(50):
            LOG.info("number %d", number)
        go_on.set()

    events = [line["event"] for line in lines(written(say, stream))]
    assert events[0] == "number 0"
    assert "log records were dropped" in events[-1]
    dropped = int(events[-1].split()[0])
    assert dropped + len(events) - 1 == 50
    assert dropped >= 39


def test_closing_puts_back_what_was_there() -> None:
    """After closing, twice even, the loggers are as before."""
    root = logging.getLogger()
    before = root.level, root.handlers[:], logging.getLogger("pykka").level
    close = configure_logs(LogSettings(), io.StringIO())
    assert root.handlers != before[1]
    close()
    close()
    assert (root.level, root.handlers[:], logging.getLogger("pykka").level) == before


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000_000))
def test_times_are_rfc3339_with_nine_digits(time_ns: int) -> None:
    """A time reads back to the microsecond, and its text keeps the nanoseconds."""
    text = rfc3339(time_ns)
    read = datetime.fromisoformat(text[:26] + "+00:00")
    whole = read.replace(microsecond=0).astimezone(UTC)
    assert int(whole.timestamp()) == time_ns // 1_000_000_000
    assert text[19:] == f".{time_ns % 1_000_000_000:09d}Z"
