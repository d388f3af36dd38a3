"""The last look at a world that is over: its log, its replay and its ledger, each by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw.datadir import DataDirectory
from goclaw.replay_check import check_replay
from goclaw_events.errors import CodedError
from goclaw_events.rocks import verify_directory
from scripts.harness.ledger import effects_of, faults_of, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from goclaw_events.journal import Journal
    from scripts.harness.ledger import Entry
    from scripts.harness.nursery import Talk

    Look = Callable[[Journal, list[Entry], Counter[str]], Iterable[str]]


def last_look(
    request: Mapping[str, Any], talk: Talk, lanes: Mapping[str, int] | None, look: Look
) -> None:
    """Say every fault of the world in `home`, those that `look` finds too, then what was counted.

    `lanes` are the slots of each lane, `boots` of the request the lives of the engines; None: the
    ledger holds no attempts.
    """
    home = Path(request["home"])
    faults = [f"verify: {problem}" for problem in verify_directory(home / "data").problems]
    entries = read(home / "ledger")
    if lanes is not None:
        faults += faults_of(entries, [(born, dead) for born, dead in request["boots"]], lanes)
    counts: Counter[str] = Counter(entry.kind for entry in entries)
    found, disagreeing = effects_of(entries)
    faults += disagreeing
    counts["effects"] = len(found)
    counts["repeated"] = counts["effect"] - len(found)
    journal = DataDirectory(home / "data").open_journal()
    try:
        report = check_replay(journal, home / "data" / "views")
        faults += [f"replay: {problem}" for problem in report.problems]
        counts["facts"] = report.facts
        faults += look(journal, entries, counts)
    except CodedError as error:
        faults.append(f"the log cannot be read: {error}")
    finally:
        journal.close()
    for fault in faults:
        talk.say("wrong", fault)
    talk.say("audited", dict(counts))
