"""Settings: precedence, origins, and every fault in one report."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw.config import Settings
from goclaw.config_load import load_settings, search_paths
from goclaw.errors import ConfigInvalid, ConfigMissing
from goclaw.programs import exec_limits
from goclaw_actors.executors.exec_executor import ExecLimits
from goclaw_actors.executors.http.limits import HttpLimits
from goclaw_actors.executors.run import ExecutorLimits
from goclaw_actors.ports import Limits
from goclaw_projections.runner import RunnerSettings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(environ: dict[str, str] | None = None, **options: Any) -> Settings:
    """Load with this environment only."""
    return load_settings(environ=environ or {}, **options).settings


def faults(environ: dict[str, str] | None = None, **options: Any) -> list[str]:
    """Return the faults of a configuration, each as its line of the report."""
    with pytest.raises(ConfigInvalid) as caught:
        load(environ, **options)
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


def test_the_defaults_are_the_documented_ones() -> None:
    """Without file, variables and flags the defaults hold."""
    settings = load()
    assert settings.data_dir == Path(".goclaw")
    assert settings.partitions == 1
    assert settings.lanes["default"].concurrency == 256
    assert settings.lanes["default"].capacity == 1_000_000
    assert settings.engine.batch_messages_max == 4096
    assert settings.executors.abandoned_max == 16


def test_the_sections_fit_the_floors_below() -> None:
    """The lower floors' own settings have the same names and defaults."""
    settings = Settings()
    assert Limits(**settings.engine.model_dump()) == Limits()
    names = {field.name for field in fields(ExecutorLimits)}
    assert ExecutorLimits(**settings.executors.model_dump(include=names)) == ExecutorLimits()
    assert HttpLimits(**settings.executors.http.model_dump()) == HttpLimits()
    assert exec_limits(settings.executors.exec) == ExecLimits(limits={"core_bytes": 0})
    assert RunnerSettings(**settings.views.model_dump()) == RunnerSettings()


def test_flags_win_over_variables_over_the_file_over_defaults() -> None:
    """Each layer covers the one below, key by key."""
    Path("goclaw.yaml").write_text("partitions: 2\nlog: {level: error, file: a.log}\n")
    loaded = load_settings(
        flags={"data_dir": Path("flagged"), "log.level": None},
        environ={"GOCLAW_LOG__LEVEL": "debug", "GOCLAW_DATA_DIR": "from-env"},
    )
    assert loaded.settings.data_dir == Path("flagged")
    assert loaded.settings.log.level == "debug"
    assert loaded.settings.log.file == Path("a.log")
    assert loaded.settings.log.format == "auto"
    assert {key: loaded.origins[key] for key in ("data_dir", "log.level", "log.file")} == {
        "data_dir": "flag",
        "log.level": "env:GOCLAW_LOG__LEVEL",
        "log.file": "file:goclaw.yaml",
    }
    assert loaded.origins["log.format"] == "default"
    assert loaded.file == Path("goclaw.yaml")


def test_every_setting_has_an_origin() -> None:
    """`origins` names every leaf of the settings, and nothing else."""
    loaded = load_settings(environ={"GOCLAW_LANES__IO__CAPACITY": "5"})
    assert loaded.origins["lanes.io.capacity"] == "env:GOCLAW_LANES__IO__CAPACITY"
    assert loaded.origins["lanes.io.concurrency"] == "default"
    assert loaded.origins["lanes.default.capacity"] == "default"
    assert "lanes" not in loaded.origins


def test_json_and_yaml_say_the_same() -> None:
    """A file may be JSON or YAML."""
    data = {"partitions": 4, "lanes": {"io": {"concurrency": 3}}, "agents": {"modules": ["a.b"]}}
    Path("c.json").write_text(json.dumps(data))
    Path("c.yaml").write_text(
        "partitions: 4\nlanes:\n  io: {concurrency: 3}\nagents:\n  modules: [a.b]\n"
    )
    assert load(config=Path("c.json")) == load(config=Path("c.yaml"))
    assert set(load(config=Path("c.json")).lanes) == {"default", "io"}


def test_the_first_file_of_the_search_order_is_read() -> None:
    """`goclaw.yaml` comes before `goclaw.yml`, before `goclaw.json`, before the user's file."""
    names = [str(path) for path in search_paths({"XDG_CONFIG_HOME": "xdg"})]
    assert names == [
        "goclaw.yaml",
        "goclaw.yml",
        "goclaw.json",
        "xdg/goclaw/config.yaml",
        "/etc/goclaw/config.yaml",
    ]
    Path("xdg/goclaw").mkdir(parents=True)
    for partitions, name in [(5, names[3]), (4, names[2]), (3, names[1]), (2, names[0])]:
        Path(name).write_text(json.dumps({"partitions": partitions}))
        assert load({"XDG_CONFIG_HOME": "xdg"}).partitions == partitions


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_missing_named_file_is_an_error(how: str) -> None:
    """A file that was asked for by name must be there."""
    environ = {"GOCLAW_CONFIG": "gone.yaml"} if how == "variable" else {}
    with pytest.raises(ConfigMissing, match=r"gone\.yaml") as caught:
        load(environ, config=Path("gone.yaml") if how == "flag" else None)
    assert caught.value.code == "config_missing"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("/b", "/a", "full lanes redirect in a circle: /a -> /b -> /a"),
        ("/a", "/default", "full lanes redirect in a circle: /a -> /a"),
        ("/default", "/gone", "lanes.b.redirect_to: there is no lane '/gone'"),
    ],
)
def test_where_shared_lanes_redirect_to_is_checked(first: str, second: str, said: str) -> None:
    """A circle, and a lane that nobody set up, are refused before anything starts."""
    lane = "{{overflow: redirect, redirect_to: {}}}"
    lanes = f"lanes:\n  a: {lane.format(first)}\n  b: {lane.format(second)}\n"
    Path("goclaw.yaml").write_text(lanes)
    assert any(said in line for line in faults()), faults()


def test_a_named_file_replaces_the_search() -> None:
    """With a file named, the others are not read."""
    Path("goclaw.yaml").write_text("partitions: 2\n")
    Path("mine.yaml").write_text("log: {level: error}\n")
    assert load({"GOCLAW_CONFIG": "mine.yaml"}).partitions == 1


def test_all_faults_stand_in_one_report() -> None:
    """Unknown keys, bad values and unknown variables are reported at once, with their places."""
    Path("goclaw.yaml").write_text(
        'log:\n  levle: debug\npartitions: 300\nlanes:\n  io: {concurrency: 0}\n  "a b": {}\n'
    )
    environ = {"GOCLAW_DATADIR": "x", "GOCLAW_LOG__FORMAT": "prety", "GOCLAW_ENGINE": "{"}
    found = faults(environ)
    for part in (
        "goclaw.yaml:2:3: log.levle: unknown key; did you mean level?",
        "goclaw.yaml:3:1: partitions: input should be less than or equal to 256, not '300'",
        "goclaw.yaml:5:8: lanes.io.concurrency: input should be greater than or equal to 1",
        "goclaw.yaml:6:3: lanes.a b: a lane id is",
        "env:GOCLAW_DATADIR: unknown variable; did you mean GOCLAW_DATA_DIR?",
        "env:GOCLAW_LOG__FORMAT: log.format: input should be 'auto', 'pretty' or 'json'",
        "env:GOCLAW_ENGINE: not JSON",
    ):
        assert any(line.startswith(part) for line in found), (part, found)
    assert len(found) == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitions: 2\npartitions: 3\n", "goclaw.yaml:2:1: partitions: 'partitions' is given"),
        ("log: &x {level: debug}\n", "goclaw.yaml:1:6: log: anchors are not read"),
        ("log: {level: debug\n", "goclaw.yaml:2:1: not YAML"),
        ("- 1\n", "goclaw.yaml: the top must be a mapping"),
        ("\xff", "goclaw.yaml: the top must be a mapping"),
        ("log: !!python/object:os.system {}\n", "goclaw.yaml:1:6: log: the tag"),
        ("log: {level: 3}\n", "goclaw.yaml:1:7: log.level: input should be 'debug'"),
        ("lanes: {io: {overflow: redirect}}\n", "goclaw.yaml:1:9: lanes.io: overflow 'redirect'"),
        ("lanes: {io: {redirect_to: /x}}\n", "goclaw.yaml:1:9: lanes.io: overflow 'redirect'"),
        (
            "lanes: {io: {overflow: redirect, redirect_to: x}}\n",
            "goclaw.yaml:1:34: lanes.io.redirect_to: a shared lane is written /ID",
        ),
    ],
)
def test_a_faulty_file_is_refused_with_the_place(text: str, said: str) -> None:
    """What is wrong with a file is said with line and column."""
    Path("goclaw.yaml").write_text(text)
    found = faults()
    assert any(line.startswith(said) for line in found), found


def test_a_file_of_no_text_is_refused() -> None:
    """Bytes that are not UTF-8, and a file beyond the limit, are faults."""
    Path("goclaw.yaml").write_bytes(b"log: \xff\n")
    assert faults() == ["goclaw.yaml: not UTF-8 at byte 5: invalid start byte"]
    Path("goclaw.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    assert faults() == ["goclaw.yaml: 1048577 bytes; a configuration has at most 1048576"]


def test_words_of_old_yaml_stay_words() -> None:
    """`no` and `22:22` are text, not false and a number."""
    Path("goclaw.yaml").write_text("data_dir: no\nlog: {file: 22:22}\n")
    settings = load()
    assert (settings.data_dir, settings.log.file) == (Path("no"), Path("22:22"))


@pytest.mark.parametrize("text", ["a.b,c", '["a.b", "c"]', " a.b , c "])
def test_a_list_fits_into_a_variable(text: str) -> None:
    """A list is written with commas, or as JSON."""
    assert load({"GOCLAW_AGENTS__MODULES": text}).agents.modules == ("a.b", "c")


def test_a_variable_may_hold_a_whole_section() -> None:
    """A section as JSON keeps the other keys of the section."""
    Path("goclaw.yaml").write_text("engine: {lost_max: 3}\n")
    engine = load({"GOCLAW_ENGINE": '{"batch_messages_max": 7}'}).engine
    assert (engine.lost_max, engine.batch_messages_max) == (3, 7)


def test_an_empty_variable_is_not_given() -> None:
    """`GOCLAW_DATA_DIR=` leaves the default; it does not mean the current directory."""
    environ = {"GOCLAW_DATA_DIR": "", "GOCLAW_LOG__FILE": "", "GOCLAW_CONFIG": ""}
    loaded = load_settings(environ=environ)
    assert loaded.settings == Settings()
    assert loaded.origins["data_dir"] == "default"


def test_settings_are_frozen() -> None:
    """Nobody changes a setting in place."""
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.partitions = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "debug"  # type: ignore[misc]


def test_the_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `environ` the process's own environment holds."""
    monkeypatch.setitem(os.environ, "GOCLAW_PARTITIONS", "7")
    assert load_settings().settings.partitions == 7


@given(st.integers(), st.sampled_from(["partitions", "engine.batch_messages_max"]))
def test_a_number_is_taken_or_refused_by_its_limits(number: int, key: str) -> None:
    """A flag within its limits is what holds; outside them it is a fault that names the key."""
    most = 256 if key == "partitions" else 1_000_000
    if 1 <= number <= most:
        assert load_settings(flags={key: number}, environ={}).origins[key] == "flag"
    else:
        with pytest.raises(ConfigInvalid) as caught:
            load_settings(flags={key: number}, environ={})
        assert f"flag: {key}: " in caught.value.message
