"""The parts of errands that others answer: signals by their names, and what people decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scripts.harness.errands import LONG, Word

if TYPE_CHECKING:
    from goclaw.builder import TaskHandle
    from scripts.harness.errands import Draft
    from scripts.harness.programs import Effect

SHAPE: Final = {
    "type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"],
}  # fmt: skip
_OVER: Final = ("run_finished", "task_finished")
"""The run is over, or at least all of it that waits for the signal."""
_DECIDED: Final = ("approval_decided", "run_finished")
_CLOSED: Final = ("approval_not_open", *_DECIDED)
BOSS: Final = "ann"
OTHER: Final = "bob"
_SIGNAL_FATES: Final = ("sent", "sent", "unfit", "silent", "race")
_PERSON_FATES: Final = (
    "approved", "edited", "unfit", "stranger", "second", "rejected", "rejected", "silent", "silent",
    "race", "two",
)  # fmt: skip


def wait_for_signal(draft: Draft, task: str) -> None:
    """Wait for a signal that comes, comes in the wrong shape first, comes never, or perhaps."""
    rng, amount, fate = draft.rng, draft.amount(), draft.rng.choice(_SIGNAL_FATES)
    asked: dict[str, Any] = {"signal": task, "schema": SHAPE}
    if rng.random() < 0.5:  # noqa: PLR2004
        asked["deadline"] = LONG
    said = draft.word("signal", task, 0, body={"total": amount})
    status, came, words = "completed", {said.id: amount}, [said]
    match fate:
        case "unfit":
            wrong = draft.word("signal", task, 1, body={"total": "much"})
            words.insert(0, wrong._replace(taken=False, refusals=("signal_invalid", *_OVER)))
        case "silent":
            rule = rng.choice(["fail", "skip", "continue"])
            asked |= {"deadline": f"{rng.randint(10, 400)}ms", "on_deadline": rule}
            status = {"fail": "failed", "skip": "skipped"}.get(rule, "completed")
            draft.errand.late.append(said._replace(taken=False, refusals=_OVER))
            came, words = {"": 0}, []
        case "race":
            asked |= {"deadline": f"{rng.randint(20, 200)}ms", "on_deadline": "continue"}
            came, words = {"": 0, said.id: amount}, [said._replace(refusals=_OVER)]
    part = draft.workflow.task(task, wait_for=asked, needs=draft.needs)
    draft.errand.said.append(words)
    _expect(draft, part, status, [part.result], came)


def wait_for_signals(draft: Draft, task: str) -> None:
    """Wait twice for signals of one name, of which there are two, or one too many."""
    first, second = draft.amount(), draft.amount()
    words = [
        draft.word("signal", task, number, body={"total": amount})
        for number, amount in enumerate((first, second))
    ]
    names = tuple(word.id for word in words)
    if draft.rng.random() < 0.4:  # noqa: PLR2004 - nobody waits for it, and the run may be over
        more = draft.word("signal", task, 2, body={"total": 0})
        words.append(more._replace(refusals=_OVER))
    draft.errand.said.append(words)
    asked = {"signal": task, "schema": SHAPE}
    parts = [draft.workflow.task(f"{task}{half}", wait_for=asked) for half in "ab"]
    for part in parts:
        draft.end(part.id, "completed")
        draft.question(part, *names, effects={})
    both = draft.workflow.wait(task, 0, needs=parts)
    draft.behind(both, "completed", [part.result for part in parts], {"": first + second})


def ask_person(draft: Draft, task: str) -> None:
    """Ask people: who may decide and who may not, in time, at once, or never."""
    rng, amount, other = draft.rng, draft.amount(), draft.amount()
    fate = rng.choice(_PERSON_FATES)
    asked: dict[str, Any] = {
        "who": [BOSS, OTHER], "message": f"{task}?", "schema": SHAPE, "arguments": {"total": amount}
    }  # fmt: skip
    if rng.random() < 0.5:  # noqa: PLR2004
        asked["deadline"] = LONG
    yes = draft.word("approve", task, 0, sender=BOSS)
    edit = yes._replace(more={"sender": BOSS, "arguments": {"total": other}})
    no = draft.word("reject", task, 1, sender=OTHER, reason="no")
    status, came, says = "completed", {yes.id: amount}, [[yes]]
    match fate:
        case "edited":
            came, says = {edit.id: other}, [[edit]]
        case "unfit":
            more = {"sender": BOSS, "arguments": {"total": "much"}}
            says = [[_never(no, "approval_invalid", kind="approve", more=more), yes]]
        case "stranger":
            more = {"sender": "mallory", "reason": "for you"}
            says = [[_never(no, "approval_forbidden", kind="approve", more=more), yes]]
        case "second":
            says = [[yes, _never(no)]]
        case "rejected":
            asked["on_reject"], status = _on_reject(draft)
            came, says = {no.id: amount}, [[no]]
        case "silent":
            rule = rng.choice(["fail", "approve", "reject", "skip"])
            asked |= {"deadline": f"{rng.randint(10, 400)}ms", "on_deadline": rule}
            status = {"fail": "failed", "skip": "skipped"}.get(rule, "completed")
            if rule == "reject":
                asked["on_reject"], status = _on_reject(draft)
            draft.errand.late.append(_never(yes))
            came, says = {"deadline" if rule in ("approve", "reject") else "": amount}, []
        case "race":
            rule = rng.choice(["approve", "reject"])
            asked |= {"deadline": f"{rng.randint(20, 200)}ms", "on_deadline": rule}
            asked["on_reject"] = "continue"
            came, says = {edit.id: other, "deadline": amount}, [[edit._replace(refusals=_CLOSED)]]
        case "two":
            asked["on_reject"] = "continue"
            came = {edit.id: other, no.id: amount}
            says = [[edit._replace(refusals=_DECIDED)], [no._replace(refusals=_DECIDED)]]
    part = draft.workflow.task(task, approval=asked, needs=draft.needs)
    draft.errand.said += says
    _expect(draft, part, status, ["${tasks." + task + ".result.arguments}"], came)


def _never(word: Word, *codes: str, **more: Any) -> Word:
    """Return a word that is refused: with a code, or because it is decided already."""
    return word._replace(taken=False, refusals=(*codes, *_CLOSED), **more)


def _on_reject(draft: Draft) -> tuple[str, str]:
    """Draw what follows when a task is rejected, and how it ends then."""
    rule = draft.rng.choice(["fail", "skip", "continue"])
    return rule, {"fail": "failed", "skip": "skipped"}.get(rule, "completed")


def _expect(
    draft: Draft, part: TaskHandle, status: str, upstream: object, came: dict[str, int]
) -> None:
    effects: dict[str, Effect] = draft.behind(part, status, upstream, came)
    draft.question(part, *came, effects=effects)
