"""`goclaw bench log`: it measures, says on what, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from goclaw.bench.machine import percentiles
from goclaw.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_bench_log_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is one object with every figure, and the directory is empty again."""
    args = ["bench", "log", "--frames", "40", "--facts", "30", "--dir", str(tmp_path), "--json"]
    assert main(args) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for name in ("flush_ms", "flush_wal_ms", "ack_ms", "stream_read_ms"):
        assert 0 < found[name]["p50"] <= found[name]["p99"], name
    for name in ("frames_per_s", "facts_per_s", "replay_facts_per_s", "bytes_per_fact"):
        assert found[name] > 0, name
    assert found["settings"]["frames"] == 40
    assert found["facts"] == 40 * 30 + 40 * 3
    assert found["machine"]["cpus"] >= 1
    assert list(tmp_path.iterdir()) == []


def test_bench_log_stops_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--seconds` it writes what it can, and the figures are of that."""
    args = ["bench", "log", "--frames", "3000", "--facts", "30", "--seconds", "0.1"]
    assert main([*args, "--dir", str(tmp_path)]) == 0
    assert "frames_per_s" in capsys.readouterr().out


def test_percentiles() -> None:
    """Nearest rank: the middle, and the one below which 99 of 100 lie."""
    assert percentiles([float(n) for n in range(1, 102)]) == {"p50": 51.0, "p99": 100.0}
    assert percentiles([2.0]) == {"p50": 2.0, "p99": 2.0}
    assert percentiles([]) == {"p50": 0.0, "p99": 0.0}


def test_bench_engine_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is one object with the figures that the issue names, measured on real runs."""
    args = ["bench", "engine", "--tasks", "200", "--runs", "1", "--samples", "10"]
    assert main([*args, "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for name in ("start_latency_ms", "workflow_latency_ms", "flush_floor_ms"):
        assert 0 < found[name]["p50"] <= found[name]["p99"], name
    assert set(found["shapes"]) == {"chain", "fan", "wide", "single"}
    assert found["tasks_per_s"] == max(
        found["shapes"][shape]["tasks_per_s"] for shape in ("chain", "fan")
    )
    assert 4 < found["facts_per_task"] < 8
    for shape in found["shapes"].values():
        lag = shape["views_lag_ms"]
        assert 0 <= lag["p50"] <= lag["p99"] <= lag["max"] < 60_000
    assert found["facts_per_s"] > found["tasks_per_s"]
    assert found["rss_mb"] > 10
    stages = {"decide", "fold", "encode", "dispatch", "write", "projections", "executor"}
    assert stages <= set(found["stages_us_per_task"])
    assert list(tmp_path.iterdir()) == []


def test_bench_engine_with_a_crowd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks that wait for one slot, and runs that wait for a timer; nothing else is measured."""
    args = ["bench", "engine", "--queued", "120", "--waiting", "30", "--rest", "0.1"]
    args += ["--samples", "20", "--dir", str(tmp_path), "--json"]
    assert main(args) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"machine", "queued_wide", "queued_single", "waiting"}
    for shape, runs in (("queued_wide", 1), ("queued_single", 120)):
        figures = found[shape]
        assert (figures["tasks"], figures["runs"]) == (120, runs)
        gap = figures["slot_to_start_ms"]
        assert 0 < gap["p50"] <= gap["p99"] <= gap["max"]
    assert found["waiting"]["runs"] == 30
    assert found["waiting"]["idle_cpu_percent"] >= 0
    assert list(tmp_path.iterdir()) == []


def test_bench_engine_with_a_blocked_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Timers fire and another lane starts while a loop is blocked."""
    args = ["bench", "engine", "--blocked", "0.4", "--dir", str(tmp_path), "--json"]
    assert main(args) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["blocked"]
    assert found["samples"] > 0
    # Who waits for the loop waits 250 ms in the middle.
    assert found["timer_late_ms"]["p50"] < 150
    assert found["other_lane_start_ms"]["p50"] < 150


def test_bench_recovery_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A killed process, one that goes on, and a lane that is written away while it fills."""
    args = ["bench", "recovery", "--facts", "300", "--entries", "7000", "--restarts", "1"]
    assert main([*args, "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["facts"] > 200
    assert 0 < found["restart_s"]["imported"] < found["restart_s"]["committed"] < 60
    assert 0 < found["restart_s"]["attempt"] < 60
    lane = found["lane"]
    assert lane["chunks"] >= 5
    assert lane["batches_with_snapshot"] >= 1
    assert lane["hold_cpu_ms"]["p50"] <= lane["hold_cpu_ms"]["p99"] <= lane["hold_cpu_ms"]["max"]
    assert list(tmp_path.iterdir()) == []


def test_bench_lanes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plain lane, one with limits, and how exactly tenants share it."""
    args = ["bench", "lanes", "--tasks", "300", "--in-flight", "150", "--rounds", "1"]
    assert main([*args, "--size", "400", "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["durable_per_s"] > 0
    assert found["limited_per_s"] > 0
    assert found["limits_cost_ratio"] > 0
    assert found["cpu_ratio"] > 0
    assert min(found["cpu_us"]["plain"], found["cpu_us"]["limited"]) > 0
    assert found["share_error"] <= 0.05
    for kind in ("plain", "limited"):
        assert found["per_s_by_size"][kind]["400"] > 0
        assert found["cpu_us_by_size"][kind]["400"] > 0
    storms = found["storm_cpu_us_by_size"]
    assert min(storms["redirect"]["400"], storms["block"]["400"]) > 0
    assert list(tmp_path.iterdir()) == []


def test_bench_overload_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten times too much is refused with `busy`; what was taken in ends; memory stays bounded."""
    args = ["bench", "overload", "--commands", "40", "--times", "10", "--rounds", "3"]
    assert main([*args, "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    answers = found["answers"]
    assert answers["accepted"] + answers["busy"] == found["offered"] == 3 * 400
    assert answers["busy"] > found["offered"] // 3
    assert answers["completed"] == answers["accepted"] >= 3 * 40
    assert (found["lost"], found["stored_though_refused"]) == (0, 0)
    assert found["rss_mb"]["most"] < found["rss_mb"]["idle"] + 100
    assert list(tmp_path.iterdir()) == []


def test_bench_process_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Agents in worker processes and programs, with the rates and latencies of both."""
    args = ["bench", "process", "--tasks", "50", "--runs", "1", "--samples", "10"]
    assert main([*args, "--programs", "5", "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < found["start_latency_ms"]["p50"] <= found["start_latency_ms"]["p99"]
    for name in ("tasks_per_s", "programs_per_s", "first_worker_s"):
        assert found[name] > 0, name
    assert found["settings"]["workers"] == 2
    assert list(tmp_path.iterdir()) == []


def test_bench_steps_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many durable steps a second, and how long one takes, alone and among many."""
    args = ["bench", "steps", "--in-flight", "4", "--steps", "10", "--samples", "10"]
    assert main([*args, "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for key in ("latency_ms", "alone_ms"):
        assert 0 < found[key]["p50"] <= found[key]["p99"], key
    assert found["steps_per_s"] > 0
    assert found["step_cpu_ms"] > 0
    assert list(tmp_path.iterdir()) == []


def test_bench_sagas_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sagas beside workflows of the same shapes, round by round, and durable steps."""
    args = ["bench", "sagas", "--tasks", "60", "--rounds", "3", "--steps-in-flight", "4"]
    assert main([*args, "--steps", "10", "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    rounds = [one["ratio_to_engine"] for one in found["rounds"]]
    assert len(rounds) == 3
    assert 0 < found["ratio_to_engine"] == sorted(rounds)[1]
    for key in ("step_ms", "cpu_ratio", "saga_tasks_per_s", "engine_tasks_per_s"):
        assert found[key] > 0, key
    assert 4 < found["facts_per_saga_task"] < 8
    assert list(tmp_path.iterdir()) == []


def test_bench_signals_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How soon a handler hears, on the loop and in a process, and stops; signals a second."""
    args = ["bench", "signals", "--samples", "5", "--kills", "1", "--signals", "50"]
    args += ["--members", "20"]
    assert main([*args, "--dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for key in ("steer_async_ms", "steer_process_ms", "interrupt_ms", "kill_ms", "collect_ms"):
        assert 0 < found[key]["p50"] <= found[key]["p99"], key
    assert found["signals_per_s"] > 0
