"""The harness finds what it looks for: planted losses, overlaps and wrong totals."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from scripts.harness import storage_kill
from scripts.harness.engine_kill import EngineCounts, EngineWorld
from scripts.harness.journeys import Journey, journey
from scripts.harness.killed_world import DEADLINE_S, FOREVER
from scripts.harness.ledger import Entry, effects_of, faults_of, totals
from scripts.harness.nursery import Harm, Nursery
from scripts.harness.power import MARK_SYNCED, cut_power
from scripts.harness.programs import DEPTH_MAX, Effect, program
from scripts.harness.saga_audit import ledger_faults
from scripts.harness.storage_child import MARK_BEFORE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOOTS = [(0, 100), (200, 300)]
LANES = {"/default": 2}


@pytest.fixture(name="nursery", scope="module")
def _nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def entry(kind: str, boot: int, at_ns: int, key: str = "r/t/0", attempt: int = 1) -> Entry:
    """Return a line of a ledger."""
    return Entry(kind, boot, at_ns, key, attempt, "/default" if kind == "begin" else None)


def killed_world(nursery: Nursery, home: Path, power: str) -> storage_kill._World:
    """Return a log whose writer was killed after 60 acknowledgements."""
    world = storage_kill._World(nursery, home, "planted", power)
    assert world.close(tolerant=False)
    child = world.start(storage_kill.FRAMES_MAX)
    world.listen(child, time.monotonic() + storage_kill.OPEN_S, 60)
    world.keep(child.kill())
    assert world.acknowledged >= 60
    return world


def cut_behind_the_record(world: storage_kill._World, share: float) -> None:
    """Cut the WAL to a share of the length that was flushed, as if the record had said so."""
    record = world.home / "flushed"
    sizes = json.loads(record.read_text().splitlines()[-1])
    cut = {name: int(size * share) for name, size in sizes.items()}
    record.write_text(json.dumps(cut) + "\n")
    (world.home / MARK_SYNCED).unlink()
    cut_power(world.home, random.Random(0), "cut")


def test_a_lost_flush_is_found_by_the_watermark(nursery: Nursery, tmp_path: Path) -> None:
    """A log that lost what a flush had covered is refused when it is opened."""
    world = killed_world(nursery, tmp_path / "w", "honest")
    cut_behind_the_record(world, 0.5)
    with pytest.raises(Harm, match="log_behind_watermark"):
        world.close(tolerant=False)


def test_a_lost_acknowledgement_is_found(nursery: Nursery, tmp_path: Path) -> None:
    """Where the watermark was set back too, the acknowledgements themselves tell of the loss."""
    world = killed_world(nursery, tmp_path / "w", "honest")
    mark = world.home / "data" / "watermark"
    before = (world.home / MARK_BEFORE).read_bytes()
    cut_behind_the_record(world, 0.5)
    mark.write_bytes(before)
    with pytest.raises(Harm, match=r"acknowledged \d:\d+ is missing"):
        world.close(tolerant=False)


def test_another_frame_in_its_place_is_found(nursery: Nursery, tmp_path: Path) -> None:
    """An acknowledged place that holds another frame is not taken for the frame."""
    world = killed_world(nursery, tmp_path / "w", "")
    acks = world.home / "acks"
    lines = [json.loads(line) for line in acks.read_text().splitlines()]
    lines[10][2] = "00" * 16
    acks.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(Harm, match="not 0000"):
        world.close(tolerant=False)


def test_wrong_totals_and_forged_attempts_are_found(nursery: Nursery, tmp_path: Path) -> None:
    """The audit misses no effect, and finds attempts that the log never started."""
    counts = EngineCounts()
    world = EngineWorld(nursery, tmp_path / "w", "planted", counts)
    child = world.start(finish=False)
    world.listen(child, time.monotonic() + DEADLINE_S, FOREVER)
    assert world.done
    world.part(child)
    world.audit()
    assert counts.effects > 10

    ledger = world.home / "ledger"
    lines = ledger.read_text().splitlines()
    effects = [line for line in lines if line.startswith('["effect"')]
    begins = [json.loads(line) for line in lines if line.startswith('["begin"')]
    sure = world.acknowledged - world.cancelled  # of the others it is not known how far they came
    exact = [n for n in sure if program("planted", n).exact]
    whole = [line for line in effects if "/add/" not in line]  # not one step of several
    lost = next(e for e in whole if any(f'"p{n}/' in e for n in exact))
    forged = [*begins[0][:4], 77, begins[0][5]]
    kept = [line for line in lines if line != lost] + [json.dumps(forged)]
    ledger.write_text("\n".join(kept) + "\n")
    with pytest.raises(Harm) as caught:
        world.audit()
    said = str(caught.value)
    assert "differ; missing" in said
    assert "completed and did nothing" in said
    assert "attempts [77] ran and were not recorded" in said


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([entry("begin", 0, 10), entry("end", 0, 20), entry("begin", 0, 20, attempt=2)], ""),
        ([entry("begin", 0, 10), entry("begin", 1, 210, attempt=2)], ""),
        ([entry("begin", 0, 10), entry("begin", 0, 20, attempt=2)], "attempts overlap"),
        ([entry("begin", 0, 10), entry("end", 0, 20), entry("begin", 1, 210)], "began twice"),
        ([entry("begin", 0, 150)], "outside the life"),
        ([entry("begin", 0, 10, f"r/{n}/0") for n in range(3)], "held 3 of 2 slots"),
    ],
)
def test_the_ledger_shows_overlaps(entries: list[Entry], fault: str) -> None:
    """Attempts of a task never overlap, begin once, within their process, in slots of a lane."""
    faults = faults_of(entries, BOOTS, LANES)
    assert bool(faults) == bool(fault)
    assert all(fault in said for said in faults)


def test_an_effect_counts_once_for_its_key() -> None:
    """Repeated effects of a key are one effect; two that differ are a fault."""
    first: Any = ["c0", 5, "r/t"]
    entries = [
        Entry("effect", 0, 1, "r/t/0", 1, first),
        Entry("effect", 0, 2, "r/t/0", 2, first),
        Entry("effect", 0, 3, "r/u/0", 1, ["c0", 7, "r/u"]),
    ]
    found, faults = effects_of(entries)
    assert faults == []
    assert totals(found.values()) == ({"c0": 12}, ["r/t", "r/u"])
    _, faults = effects_of([*entries, Entry("effect", 1, 4, "r/u/0", 2, ["c0", 8, "r/u"])])
    assert faults == [
        f"r/u/0 had the effect {Effect('c0', 7, 'r/u')}, then {Effect('c0', 8, 'r/u')}"
    ]


def test_programs_repeat_and_vary() -> None:
    """A seed always makes the same programs, and a hundred of them hold every kind of task."""
    made = [program("variety", number) for number in range(100)]
    again = program("variety", 7)
    assert again.workflow.definition() == made[7].workflow.definition()
    assert again.effects == made[7].effects
    statuses = {status for p in made for status in p.statuses.values()}
    assert statuses == {"completed", "failed", "skipped", "blocked"}
    assert {p.status for p in made} == {"completed", "failed"}
    assert {p.workflow.definition().on_failure for p in made} == {
        "continue", "fail_fast", "let_finish",
    }  # fmt: skip
    depths = {task.partition("_")[0] for p in made for task in p.statuses}
    assert len(depths) == DEPTH_MAX
    assert max(sum(t.startswith("t1_") for t in p.statuses) for p in made) == 20


def journey_that(fate: str) -> Journey:
    """Return a saga with that fate; two of its steps in a row must be done and undone."""
    every = (journey("planted", number) for number in range(200))
    return next(made for made in every if made.fate == fate and _has_chain(made))


def _has_chain(made: Journey) -> bool:
    both = made.sure & made.undone
    return any(both & set(made.needs[step]) for step in both)


def ledger_of(made: Journey) -> list[Entry]:
    """Return the ledger of a saga that did what was sure, and undid it in reverse order."""
    amounts = {}
    for step in made.needs:
        action = made.saga.definition().steps[step].action
        amounts[step] = [action.with_["counter"], action.with_["amount"]]
    done = [step for step in made.needs if step in made.sure]
    entries = list[Entry]()
    for step in done:
        key = f"~{made.saga_id}/{step}/0"
        entries.append(Entry("effect", 0, len(entries), key, 1, [*amounts[step], key]))
    for step in reversed(done):
        key = f"~{made.saga_id}/{step}"
        if step in made.undone:
            own = f"{key}.compensation/0"
            entries.append(Entry("undo", 0, len(entries), own, 1, [f"{key}/0", False]))
    return entries


def test_what_is_wrong_with_a_saga_is_found() -> None:
    """Its total, its order, what came too late, and what nobody began."""
    made = journey_that("fails")
    told = ledger_of(made)

    def faults(entries: list[Entry], begun: set[str] | None = None) -> str:
        known = set(made.needs) if begun is None else begun
        return "\n".join(ledger_faults(made, entries, known, Counter()))

    assert faults(told) == ""
    undo = next(entry for entry in told if entry.kind == "undo")
    step = undo.key.split("/")[1].removesuffix(".compensation")
    effect = next(e for e in told if e.kind == "effect" and e.key.split("/")[1] == step)
    assert "totals of" in faults([entry for entry in told if entry is not undo])
    assert "never did" in faults([entry for entry in told if entry is not effect])
    assert "after it was undone" in faults([*told, effect._replace(at_ns=1_000)])
    assert "never began" in faults(told, set(made.needs) - {step})
    assert f"undid ~{made.saga_id}/other/0" in faults(
        [*told, undo._replace(what=[f"~{made.saga_id}/other/0", False])]
    )
    chain = next(
        (a, b)
        for b, needs in made.needs.items()
        for a in needs
        if {a, b} <= made.undone & made.sure
    )
    wrong = [
        entry._replace(at_ns=5_000) if entry.key == f"~{made.saga_id}/{chain[1]}.compensation/0"
        else entry
        for entry in told
    ]  # fmt: skip
    assert f"{chain[0]} was undone before {chain[1]}" in faults(wrong)
