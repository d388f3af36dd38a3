"""The demo of sagas: whatever the agency does, its ledger has all of a trip, or nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from goclaw.cli import main
from goclaw.demo.agency import KINDS, PRICE, Agency
from goclaw.demo.trip import WHO, faults_of
from tests.goclaw.processes import last_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_nobody_is_charged_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trip stands as a whole or not at all, in the agency's own ledger; the views agree."""
    where = ["--data-dir", str(tmp_path)]
    assert main(["demo", "--trip", *where, "--json"]) == 0
    told = last_json(capsys.readouterr().out)
    assert (told["charged_twice"], told["faults"]) == ([], [])
    assert told["failed"] > 0, "an agency that never fails proves nothing"
    ends = [trip["status"] for trip in told["trips"].values()]
    assert list(told["trips"]) == list(WHO)
    assert set(ends) <= {"completed", "compensated"}
    stands = ends.count("completed")
    assert {kind: found["stands"] for kind, found in told["ledger"].items()} == dict.fromkeys(
        KINDS, stands
    )
    assert told["money"] == PRICE * stands
    assert main(["sagas", "list", *where, "--json"]) == 0
    listed = {saga["saga_id"]: saga["status"] for saga in last_json(capsys.readouterr().out)}
    assert listed == {trip["saga_id"]: trip["status"] for trip in told["trips"].values()}


def test_the_ledger_would_show_what_is_wrong() -> None:
    """Half a trip is a fault, as is one that stands although it was undone."""
    whole: dict[str, Any] = {"status": "completed", "has": list(KINDS)}
    half = {"status": "completed", "has": ["flight"]}
    left = {"status": "compensated", "has": ["payment"]}
    assert faults_of({"Ada": whole}) == []
    assert len(faults_of({"Ada": whole, "Hedy": half, "Ida": left})) == 2


def ask(agency: Agency, path: str, body: dict[str, Any], key: str = "") -> Any:
    """Ask an agency until it answers well; return that."""
    for _ in range(100):
        headers = {"Idempotency-Key": key}
        found = agency.answer("POST", path, headers, json.dumps(body).encode())
        if found is not None and found.status in (200, 201, 409):
            return found.body
    raise AssertionError(f"the agency never answers {path}")


def test_the_agency_does_once_what_has_the_same_key() -> None:
    """Paid once, however often it hung up; what was undone before it came is not done after."""
    agency = Agency(seed=7)
    with agency:
        first = ask(agency, "/payment", {"who": "Ada"}, "k")
        for _ in range(20):
            assert ask(agency, "/payment", {"who": "Ada"}, "k") == first
        assert agency.standing("Ada") == ["payment"]
        for _ in range(20):
            assert ask(agency, "/undo", {"key": "k"}) == {"undone": True}
        assert (agency.standing("Ada"), agency.charged_twice()) == ([], [])
        assert [entry.what for entry in agency.ledger] == ["taken", "undone"]
        assert ask(agency, "/undo", {"key": "late"}) == {"undone": False}
        assert ask(agency, "/flight", {"who": "Ada"}, "late") == {"error": "that was undone"}
        ask(agency, "/payment", {"who": "Ada"}, "other")
        assert agency.charged_twice() == ["Ada"]
        assert 0 < agency.failed < agency.asked
        missing = agency.answer("GET", "/payment", {}, b"")
        assert missing is not None
        assert missing.status == 404
