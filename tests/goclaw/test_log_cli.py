"""`goclaw log`: what it prints, in which form, and how it ends."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from goclaw.cli import main
from goclaw.datadir import DataDirectory
from goclaw_events.value import blob_of, pack
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from pathlib import Path

BLOB = pack("x" * 2_000_000)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data directory with the log of two runs in four partitions."""
    path = tmp_path / "data"
    journal = DataDirectory(path).open_journal(create=True, partitions=4)
    writer = FrameWriter(journal)
    ref = blob_of(BLOB)
    for run, partition in (("one", 3), ("two", 1)):
        for place in range(3):
            writer.append(partition=partition, turns={f"workflow/{run}": [[f"{run} {place}"]]})
        writer.append(
            partition=partition,
            turns={f"task/{run}/t": [[ref]], f"workflow/{run}": [["\x1b[31mred\n"]]},
            fill=lambda builder: builder.blobs.update({ref.sha256: BLOB}),
        )
    writer.settle()
    journal.close()
    return path


def called(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[str], str]:
    """Run a command; return exit code, lines of stdout, and stderr."""
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out.splitlines(), out.err


def test_show_prints_a_line_for_each_fact(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Position, time with nine digits, stream, seq, type, data; in order of time."""
    code, lines, _ = called(capsys, "log", "show", "--data-dir", data_dir)
    assert code == 0
    assert len(lines) == 10
    pattern = r"\d:\d+  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z  \S+  #\d+  run\.cancelled  \{.*\}"
    assert all(re.fullmatch(pattern, line) for line in lines)
    times = [line.split()[1] for line in lines]
    assert times == sorted(times)
    assert "\x1b" not in "".join(lines)


def test_show_json_is_one_array_on_the_last_line(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each object has the place of a fact and its fields by name; references are marked."""
    code, lines, _ = called(capsys, "log", "show", "--run", "one", "--json", "--data-dir", data_dir)
    records: list[dict[str, Any]] = json.loads(lines[-1])
    assert (code, len(lines)) == (0, 1)
    assert [record["position"] for record in records] == ["3:1", "3:2", "3:3", "3:4", "3:5"]
    assert records[0]["data"] == {"reason": "one 0"}
    assert records[0]["cause"] == {"command_id": "c0"}
    assert records[3]["data"]["reason"]["$blob"] == blob_of(BLOB).hex


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        (["--stream", "task/two/t"], ["1:4"]),
        (["--from", "3:2", "--to", "3:3"], ["3:2", "3:3"]),
        (["--from", "1:5"], ["1:5"]),
        (["--run", "two", "--limit", "2"], ["1:1", "1:2"]),
        (["--type", "run", "--run", "two", "--from", "1:3"], ["1:3", "1:4", "1:5"]),
        (["--type", "task"], []),
        (["--to", "0:9"], []),
    ],
)
def test_show_selects(
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    positions: list[str],
) -> None:
    """Run, stream, type and positions choose; `--ndjson` prints an object a line."""
    code, lines, _ = called(capsys, "log", "show", "--ndjson", "--data-dir", data_dir, *options)
    assert code == 0
    assert [json.loads(line)["position"] for line in lines] == positions


@pytest.mark.parametrize(
    ("options", "code", "name"),
    [
        (["--run", "three"], 3, "run_not_found"),
        (["--stream", "workflow/three"], 3, "not_found"),
        (["--from", "9:1"], 3, "not_found"),
        (["--from", "x"], 2, "invalid_position"),
        (["--type", "task.complete"], 2, "usage"),
        (["--type", "tas"], 2, "usage"),
        (["--from", "1:1", "--to", "2:1"], 2, "usage"),
    ],
)
def test_show_refuses(
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    name: str,
) -> None:
    """What is not there exits 3, what is impossible 2, each with its code in JSON."""
    found, lines, _ = called(capsys, "log", "show", "--json", "--data-dir", data_dir, *options)
    assert found == code
    assert json.loads(lines[-1])["error"]["code"] == name


def test_tail_prints_the_end(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tail -n` prints the last facts over all partitions, the latest last."""
    code, lines, _ = called(capsys, "log", "tail", "-n", 4, "--json", "--data-dir", data_dir)
    records = json.loads(lines[-1])
    assert code == 0
    assert [record["position"] for record in records] == ["1:4", "1:5", "3:4", "3:5"]


def test_verify_of_a_whole_log(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole log exits 0 and says what was read."""
    code, lines, _ = called(capsys, "log", "verify", "--data-dir", data_dir)
    assert (code, lines[-1]) == (0, "whole")
    code, lines, _ = called(capsys, "log", "verify", "--json", "--data-dir", data_dir)
    report = json.loads(lines[-1])
    assert code == 0
    assert report["whole"] is True
    assert (report["facts"], report["blobs"], report["problems"]) == (10, 1, [])


def test_verify_of_a_damaged_log(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged log exits 6 and names the place."""
    name = blob_of(BLOB).hex
    path = data_dir / "blobs" / name[:2] / name
    path.write_bytes(path.read_bytes()[:-1])
    code, lines, _ = called(capsys, "log", "verify", "--json", "--data-dir", data_dir)
    report = json.loads(lines[-1])
    assert (code, report["whole"]) == (6, False)
    assert f"blobs/{name[:2]}/{name}" in [problem["place"] for problem in report["problems"]]
    code, lines, _ = called(capsys, "log", "verify", "--data-dir", data_dir)
    assert (code, lines[-1]) == (6, "2 problems")


@pytest.mark.parametrize("command", ["show", "tail", "verify"])
def test_a_directory_without_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Where there is no log, exit code 3 and a hint; nothing is created."""
    path = tmp_path / "nowhere"
    code, lines, err = called(capsys, "log", command, "--json", "--data-dir", path)
    assert code == 3
    assert json.loads(lines[-1])["error"]["code"] == "not_found"
    assert "--data-dir" in err
    assert not path.exists()


@pytest.mark.parametrize("command", ["show", "tail", "verify"])
def test_a_directory_in_use(
    data_dir: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """While an engine holds the directory, exit code 5 and `engine_running`."""
    journal = DataDirectory(data_dir).open_journal()
    try:
        code, lines, _ = called(capsys, "log", command, "--json", "--data-dir", data_dir)
    finally:
        journal.close()
    assert code == 5
    assert json.loads(lines[-1])["error"]["code"] == "engine_running"


def test_a_log_behind_its_watermark_can_be_read(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`show` reads what is there of a damaged log, and says what is wrong with it."""
    (data_dir / "watermark").unlink()
    code, lines, err = called(capsys, "log", "show", "--data-dir", data_dir)
    assert (code, len(lines)) == (0, 10)
    assert "warning[log_damaged]" in err
