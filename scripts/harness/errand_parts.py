"""The parts of errands: each waits for something else, and ends as it is drawn to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.builder import ITEM, Workflow
from goclaw_actors.task.child import child_id
from goclaw_actors.task.dying import KILLS_MAX
from scripts.harness.errands import CHORE, PARTS_MAX, Draft, Errand, Verdict
from scripts.harness.programs import MODULUS, Program
from scripts.harness.questions import ask_person, wait_for_signal, wait_for_signals
from scripts.harness.workers import RETRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.builder import OnFailure

ITEMS_MAX: Final = 6
SPAWNED_MAX: Final = 4
DEADLY: Final = 0.08
"""So many of the dead letters killed their workers; each costs four processes."""
_BRIEF_S: Final = 0.6
_GIVEN: Final = ("amount", "counter", "pause_ms", "lane", "upstream", "flakes")
"""What the work that is done below is given."""


def errand(seed: str, number: int) -> Errand:
    """Make the `number`-th errand of a seed; always the same."""
    draft = Draft(seed, number)
    for place in range(draft.rng.randint(2, PARTS_MAX)):
        draft.rng.choice(_PARTS)(draft, f"p{place}")
    return draft.done()


def chore() -> Workflow:
    """Return the workflow that is run as a child: one task that has an effect."""
    made = Workflow(CHORE)
    given = {name: made.input(name) for name in _GIVEN}
    do = made.task("do", agent="harness.soft", with_=given, retry=RETRY)
    made.output = do.result
    return made


def _wait(draft: Draft, task: str) -> None:
    """Wait for a while, or until a time."""
    if draft.rng.random() < 0.5:  # noqa: PLR2004
        part = draft.workflow.wait(task, until=draft.until, needs=draft.needs)
    else:
        part = draft.workflow.wait(task, draft.rng.uniform(0, _BRIEF_S), needs=draft.needs)
    draft.behind(part, "completed", [], {"": 0})


def _sleep(draft: Draft, task: str) -> None:
    """Sleep so long that the slot is given back, and do something then."""
    params = {**draft.work(), "sleep_s": draft.rng.uniform(0.05, _BRIEF_S)}
    part = draft.workflow.task(task, agent=draft.agent(), needs=draft.needs, with_=params)
    total = draft.expect(draft.errand.program, task, params)
    draft.behind(part, "completed", [part.result], {"": total})


def _spawn(draft: Draft, task: str) -> None:
    """Spawn tasks, some of which fail at first, and wait for them."""
    spawns = {f"k{n}": _flaky(draft) for n in range(draft.rng.randint(1, SPAWNED_MAX))}
    program = draft.errand.program
    came = sum(draft.expect(program, f"{task}/{key}", params) for key, params in spawns.items())
    params = {**draft.work(), "spawns": spawns}
    part = draft.workflow.task(task, agent="harness.spawner", needs=draft.needs, with_=params)
    total = draft.expect(program, task, params, came)
    draft.behind(part, "completed", [part.result], {"": total})


def _flaky(draft: Draft) -> dict[str, Any]:
    return {**draft.work(), "flakes": draft.rng.choice([0, 0, 0, 1, 2, 3])}


def _below(draft: Draft, run_id: str) -> Program:
    """Expect a run that the errand has others do."""
    found = Program(run_id, draft.workflow, exact=True)
    draft.errand.below.append(found)
    return found


def _chore(draft: Draft, run_id: str, params: dict[str, Any]) -> int:
    """Expect a run of the chore; return its result."""
    below = _below(draft, run_id)
    below.statuses["do"] = "completed"
    below.failures["do"] = (0, params["flakes"])
    return draft.expect(below, "do", params)


def _child(draft: Draft, task: str) -> None:
    """Have another run do something."""
    params = _flaky(draft)
    part = draft.workflow.task(task, workflow=CHORE, needs=draft.needs, with_=params)
    total = _chore(draft, child_id(draft.run_id, task, 0, 1), params)
    draft.behind(part, "completed", [part.result], {"": total})


def _list(draft: Draft, task: str) -> None:
    """Do the same for each item of a list; some fail at first, some for good."""
    rng, items = draft.rng, [_flaky(draft) for _ in range(draft.rng.randint(0, ITEMS_MAX))]
    rules: list[OnFailure] = ["continue", "fail_fast", "let_finish"]
    rule = rng.choice(rules)
    run_id = child_id(draft.run_id, task, 0, 1)
    below = _below(draft, run_id)
    is_chore, total = rng.random() < 0.3, 0  # noqa: PLR2004
    for index, params in enumerate(items):
        item = f"{task}:{index}"
        below.statuses[item] = "completed"
        if is_chore:
            total += _chore(draft, child_id(run_id, item, 0, 1), params)
        elif rule == "continue" and rng.random() < 0.2:  # noqa: PLR2004
            params["doom"] = "final"
            below.statuses[item], below.failures[item] = "failed", (1, 1)
        else:
            below.failures[item] = (0, params["flakes"])
            total += draft.expect(below, item, params)
    work: dict[str, Any] = {"workflow": CHORE} if is_chore else {"agent": draft.agent()}
    if not is_chore:
        work["retry"] = RETRY
    part = draft.workflow.task(
        task,
        foreach=[{"doom": None, **params} for params in items],
        parallel=rng.randint(1, 4),
        on_item_failure=rule,
        needs=draft.needs,
        with_={name: ITEM[name] for name in (_GIVEN if is_chore else (*_GIVEN, "doom"))},
        **work,
    )
    draft.behind(part, "completed", part.result, {"": total})


def _deadly(draft: Draft, task: str) -> None:
    """Take one worker process after the other, be parked for that, and be redriven."""
    amount = draft.amount()
    part = draft.workflow.task(
        task,
        agent="harness.deadly",
        needs=draft.needs,
        with_={"mended_in": 1, "amount": amount},
        retry={"attempts": 100, "initial": "1ms", "max": "1ms"},
    )
    draft.errand.program.failures[task] = (KILLS_MAX, 100)
    draft.errand.letters[task] = [Verdict("redrive")]
    draft.behind(part, "completed", [part.result], {"": amount})


def _letter(draft: Draft, task: str) -> None:
    """Become a dead letter, and be redriven, perhaps with edits, until it is done or given up."""
    if draft.rng.random() < DEADLY:
        _deadly(draft, task)
        return
    rng, params = draft.rng, draft.work()
    attempts, deaths = rng.randint(1, 2), rng.randint(1, 2)
    retry = {"attempts": attempts, "initial": "1ms", "on_exhausted": "dead_letter"}
    fate = rng.choice(["mended", "edited", "discarded"])
    params["doom"] = "tried"
    last = {"edited": Verdict("redrive", {"doom": None}), "discarded": Verdict("discard")}
    if fate == "mended":
        params["mended_in"] = deaths
    verdicts = [*[Verdict("redrive")] * (deaths - 1), last.get(fate, Verdict("redrive"))]
    part = draft.workflow.task(
        task, agent=draft.agent(), needs=draft.needs, with_=params, retry=retry
    )
    program = draft.errand.program
    program.failures[task] = (attempts * deaths, attempts * deaths)
    draft.errand.letters[task] = verdicts
    if fate == "discarded":
        draft.behind(part, "failed", [part.result], {})
        return
    total = draft.expect(program, task, params)
    program.effects[f"{draft.run_id}/{task}/{deaths}"] = program.effects.pop(
        f"{draft.run_id}/{task}/0"
    )
    draft.behind(part, "completed", [part.result], {"": total % MODULUS})


_PARTS: Final[tuple[Callable[[Draft, str], None], ...]] = (
    _wait, _sleep, _spawn, _child, _list, _letter, _letter, ask_person, ask_person, ask_person,
    wait_for_signal, wait_for_signal, wait_for_signals,
)  # fmt: skip
