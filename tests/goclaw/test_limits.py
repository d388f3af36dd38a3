"""The table of limits: what it names is there, and nothing of the kind is missing."""

from __future__ import annotations

from itertools import chain

import pytest

from goclaw.config import Settings
from goclaw.config_load import load_settings
from goclaw.errors import MEANINGS
from scripts.pages.limits import LIMITS, Row, default_of, page

ROWS = list(chain.from_iterable(LIMITS.values()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what[:40])
def test_the_settings_and_codes_of_a_limit_exist(row: Row) -> None:
    """A setting with a default, an error with a meaning; what to do is said of each."""
    if isinstance(row.most, str):
        assert default_of(row.most) > 0
    else:
        assert row.most > 0
    assert not row.code or row.code in MEANINGS
    assert row.then
    assert row.what in page()


def test_every_setting_that_is_a_limit_of_users_is_listed() -> None:
    """Those of facts and of what waits or runs; not how the engine works inside."""
    listed = {row.most for row in ROWS if isinstance(row.most, str)}
    for section in ("engine", "sagas", "signals"):
        fields = type(getattr(Settings(), section)).model_fields
        limits = {f"{section}.{name}" for name in fields if name.endswith("_max")}
        inside = {"engine.batch_messages_max", "engine.batch_bytes_max", "engine.live_actors_max"}
        assert limits - inside - {"engine.commits_in_flight_max"} <= listed


def test_the_limits_of_a_history_are_settings() -> None:
    """By variable, with a least value that a mistake cannot go below."""
    given = {"GOCLAW_ENGINE__HISTORY_FACTS_MAX": "100", "GOCLAW_ENGINE__HISTORY_BYTES_MAX": "65536"}
    engine = load_settings(environ=given).settings.engine
    assert (engine.history_facts_max, engine.history_bytes_max) == (100, 65536)
    assert (Settings().engine.history_facts_max, Settings().engine.history_bytes_max) == (
        50_000,
        64 << 20,
    )
