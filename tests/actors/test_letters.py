"""Dead letters: tasks out of attempts that wait for a person, and their run with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.letters import DiscardTask, RedriveTask
from goclaw_actors.message import Message
from goclaw_actors.messages import TaskReported
from goclaw_actors.pathing import ChangePath, ConcludeChange
from goclaw_actors.ports import Limits
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_events.facts import LetterDiscarded, LetterLeft, LetterRedriven, TaskDied
from tests.actors.given import kinds
from tests.actors.play import Play
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from goclaw_actors.work import StartAttempt

RUN, TASK = "workflow/r", "task/r/a"
LETTER = {"retry": {"attempts": 1, "on_exhausted": "dead_letter"}}
TASKS: dict[str, Any] = {
    "a": {"agent": "x", "with": {"n": 1, "m": 2}, **LETTER},
    "b": {"agent": "x", "needs": ["a"], "with": {"got": "${tasks.a.result}"}},
}
NEVER = {"initial": 0, "jitter": "none"}


def dead(tasks: dict[str, Any] | None = None, **head: Any) -> Stage:
    """Return a stage with a run whose task `a` has become a dead letter."""
    stage = Stage()
    stage.submit(tasks or TASKS, **head)
    stage.rest()
    stage.end(running(stage, "a"), "failed", code="boom", message="no luck")
    stage.rest()
    return stage


def running(stage: Stage, task: str) -> StartAttempt:
    """Return the attempt of a task that is under way."""
    (found,) = [each for each in stage.executor.held.values() if each.task_id == task]
    return found


def tell(stage: Stage, body: Any, target: str = RUN) -> Any:
    """Give an actor a command; return what it answers."""
    message = Message(target, body)
    message.reply_to = stage.replies.append
    stage.replies.clear()
    stage.node.accept(message)
    stage.rest()
    (reply,) = stage.replies
    return reply.answer


def redrive(edits: Any = None, generation: int | None = None) -> RedriveTask:
    """Return the command that has `a` run again."""
    return RedriveTask("a", generation, edits, "mended", "me")


def status(stage: Stage) -> str:
    """Return how the run ended; '' if it has not."""
    return stage.ended.get("r", ("", None))[0]


def test_a_task_out_of_attempts_is_a_dead_letter_and_its_run_waits() -> None:
    """It gives its slot back, what needs it does not begin, and is the same after a replay."""
    stage = dead()
    assert stage.facts(TASK)[-1] == TaskDied("boom", "no luck", "exhausted")
    assert stage.facts(RUN)[-1] == LetterLeft("a", 0)
    assert (status(stage), stage.names("task/r/b")) == ("", [])
    assert stage.check_live() > 0


def test_a_task_fails_unless_its_policy_says_otherwise() -> None:
    """Without a word nothing is a dead letter."""
    stage = dead({"a": {"agent": "x"}})
    assert (stage.names(TASK)[-1], status(stage)) == ("TaskFailed", "failed")


def test_a_failure_that_is_not_to_be_retried_is_a_dead_letter_too() -> None:
    """Attempts that are left make no difference where none of them follows."""
    policy = {"attempts": 9, "non_retryable": ["boom"], "on_exhausted": "dead_letter"}
    stage = dead({"a": {"agent": "x", "retry": policy}})
    assert stage.names(TASK)[-1] == "TaskDied"


def test_a_redriven_letter_begins_its_next_generation() -> None:
    """With a new idempotency key, all attempts of its policy, and who asked recorded."""
    stage = dead()
    assert tell(stage, redrive()) == Accepted("a")
    assert LetterRedriven("a", 1, None, "mended", "me") in stage.facts(RUN)
    again = running(stage, "a")
    assert (again.generation, again.attempt, again.params) == (1, 1, {"n": 1, "m": 2})
    stage.finish("done")
    assert status(stage) == "completed"
    assert stage.check_live() > 0


def test_edits_are_laid_over_parameters_and_last() -> None:
    """What was edited stays edited when it dies again; further edits are laid over it."""
    stage = dead()
    tell(stage, redrive({"n": 5}))
    assert running(stage, "a").params == {"n": 5, "m": 2}
    stage.end(running(stage, "a"), "failed")
    stage.rest()
    tell(stage, redrive({"m": 6}))
    assert running(stage, "a").params == {"n": 5, "m": 6}
    stage.end(running(stage, "a"), "failed")
    stage.rest()
    tell(stage, redrive())
    assert (running(stage, "a").generation, running(stage, "a").params) == (3, {"n": 5, "m": 6})


def test_edits_name_parameters_that_there_are() -> None:
    """What a program or a request is not told is refused; an agent may have any parameter."""
    stage = dead({"a": {"exec": ["false"], **LETTER}})
    answer = tell(stage, redrive({"to": "grace", "argv": ["true"]}))
    assert isinstance(answer, Refused)
    assert (answer.code, "no 'to'" in answer.message) == ("invalid_request", True)
    assert "argv, stdin" in answer.hint
    tell(stage, redrive({"argv": ["true"]}))
    assert running(stage, "a").params == {"argv": ["true"]}


def test_edits_have_a_limit() -> None:
    """What is too large to stay inline is refused, and nothing begins."""
    stage = dead()
    answer = tell(stage, redrive({"n": "x" * 61 * 1024}))
    assert (answer.code, stage.names(RUN)[-1]) == ("value_too_large", "LetterLeft")


def test_a_letter_is_redriven_once() -> None:
    """Who names the generation that died may ask twice; who does not is told that it is none."""
    stage = dead()
    assert tell(stage, redrive(generation=0)) == Accepted("a")
    assert tell(stage, redrive(generation=0)) == Accepted("a", repeated=True)
    assert tell(stage, redrive()).code == "not_dead"
    assert stage.names(RUN).count("LetterRedriven") == 1


def test_a_discarded_letter_fails_and_the_run_follows_its_policy() -> None:
    """With fail_fast it fails with the error of the task; who asked is recorded."""
    stage = dead()
    letter = DiscardTask("a", 0, "no use", "me")
    assert tell(stage, letter) == Accepted("a")
    assert LetterDiscarded("a", 0, "no use", "me") in stage.facts(RUN)
    assert (stage.names(TASK)[-1], status(stage)) == ("TaskFailed", "failed")
    assert tell(stage, letter) == Accepted("a", repeated=True)
    assert tell(stage, redrive()).code == "run_finished"


def test_a_discarded_letter_lets_a_run_that_continues_go_on() -> None:
    """What needs it is skipped, the rest runs."""
    tasks = {**TASKS, "c": {"agent": "x"}}
    stage = dead(tasks, on_failure="continue")
    tell(stage, DiscardTask("a", None, "", "me"))
    stage.finish()
    assert [type(f).__name__ for f in stage.facts(RUN)][-1] == "RunFailed"
    assert "TasksSkipped" in stage.names(RUN)


@pytest.mark.parametrize("policy", ["fail_fast", "let_finish"])
def test_a_run_that_fails_waits_for_no_letter(policy: str) -> None:
    """Whether the letter was there before, or the task dies meanwhile: it is cancelled."""
    tasks = {name: {"agent": "x", **LETTER} for name in ("a", "c")} | {"bad": {"agent": "x"}}
    stage = dead(tasks, on_failure=policy)
    stage.end(running(stage, "bad"), "failed")
    stage.rest()
    stage.end(running(stage, "c"), "failed")
    stage.rest()
    assert (status(stage), stage.names(TASK)[-1]) == ("failed", "TaskCancelled")
    assert stage.names("task/r/c")[-1] == "TaskCancelled"


def test_a_cancelled_run_takes_its_letters_along() -> None:
    """Nothing of it stays open."""
    stage = dead()
    stage.cancel("r")
    stage.rest()
    assert (status(stage), stage.names(TASK)[-1]) == ("cancelled", "TaskCancelled")
    assert stage.rows("open") == 0


def test_a_letter_redriven_in_a_paused_run_that_is_cancelled_ends_in_both_generations() -> None:
    """The run never scheduled the second one, and hears that it is cancelled."""
    stage = dead()
    tell(stage, HoldWork("", "paused", "", "me", 0.0))
    tell(stage, redrive())
    stage.cancel("r")
    stage.rest()
    assert (status(stage), stage.names(TASK)[-1]) == ("cancelled", "TaskCancelled")


def test_a_letter_redriven_in_a_paused_run_begins_when_that_is_resumed() -> None:
    """With its edits."""
    stage = dead()
    tell(stage, HoldWork("", "paused", "", "me", 0.0))
    tell(stage, redrive({"n": 7}))
    assert not stage.executor.held
    tell(stage, ResumeWork("", "me"))
    assert running(stage, "a").params == {"n": 7, "m": 2}


def test_a_letter_can_be_skipped_with_a_result() -> None:
    """A change of the path takes it as what has not begun: what needs it goes on."""
    stage = dead()
    skip = ChangePath("p", b"p", None, None, [["a", "passed", 3]], [], [], [], [], [], "", "", None)
    assert tell(stage, skip) == Accepted("p")
    assert (stage.names(TASK)[-1], running(stage, "b").params) == ("TaskDropped", {"got": 3})
    stage.finish()
    assert status(stage) == "completed"


def test_running_a_letter_again_by_a_change_of_the_path_redrives_it() -> None:
    """Its generation ends, and the next one begins."""
    stage = dead()
    again = ChangePath("p", b"p", None, None, [], ["a"], [], [], [], [], "", "", None)
    tell(stage, again)
    assert running(stage, "a").generation == 1
    stage.finish()
    assert status(stage) == "completed"


def test_a_letter_that_stands_aside_for_a_change_of_the_path_is_not_redriven_meanwhile() -> None:
    """The change waits for how it ends in the generation that it knows, and has it run again."""
    run = Play(TASKS).run
    again = ChangePath("p", b"p", None, None, [], ["a"], [], [], [], [], "", "", None)
    assert kinds(run.when(again).facts) == ["PathChangeAsked"]
    dead = TaskReported("a", 0, "dead", None, ["boom", "why"])
    assert kinds(run.when(dead).facts) == ["LetterLeft"]
    refused = run.when(redrive()).reply
    assert isinstance(refused, Refused)
    assert refused.code == "path_busy"
    run.when(TaskReported("a", 0, "cancelled", None, None))
    changed = run.when(ConcludeChange("p"))
    assert kinds(changed.facts) == ["PathChanged"]
    assert run.encoded() == run.replayed()


def test_letters_survive_a_crash_and_a_snapshot() -> None:
    """Whatever of it reached the disk: it is redriven by the next process."""
    stage = dead().crash()
    stage.rest()
    assert not stage.executor.held
    tell(stage, redrive({"n": 9}))
    stage = stage.crash()
    stage.rest()
    assert running(stage, "a").params == {"n": 9, "m": 2}
    assert stage.check_live() > 0


def test_a_task_that_keeps_killing_its_worker_is_parked() -> None:
    """Three workers in a row are enough, whatever its policy allows; other failures begin anew."""
    stage = Stage()
    stage.submit({"a": {"agent": "x", "retry": {"attempts": 50, **NEVER}}})
    for code in ("worker_died", "worker_died", "boom", "worker_died", "worker_died", "worker_died"):
        stage.rest()
        stage.end(running(stage, "a"), "failed", code=code, message="m")
    stage.rest()
    assert stage.facts(TASK)[-1] == TaskDied("worker_died", "m", "kills_its_worker")
    tell(stage, redrive())
    assert running(stage, "a").generation == 1


def test_a_task_that_is_lost_too_often_is_parked() -> None:
    """The process that ran it went away with it each time."""
    stage = Stage(limits=Limits(lost_max=1))
    stage.submit({"a": {"agent": "x"}})
    stage.rest()
    for _ in range(2):
        stage = stage.crash()
        stage.rest()
    assert (stage.facts(TASK)[-1].reason, status(stage)) == ("lost_too_often", "")
    tell(stage, redrive())
    stage.finish()
    assert status(stage) == "completed"


def test_who_joined_the_key_of_a_letter_does_not_wait_for_a_person() -> None:
    """The key is free: the letter asks for it again when it is redriven."""
    unique = {"unique": {"key": "${input.k}", "on_duplicate": "refuse"}}
    given: dict[str, Any] = {"given": {"k": "v"}, "input": {"k": {}}}
    stage = dead({"a": {"agent": "x", **LETTER, **unique}}, **given)
    stage.submit({"a": {"agent": "x", **unique}}, "s", **given)
    stage.finish()
    assert stage.ended["s"][0] == "completed"
    tell(stage, redrive())
    stage.finish()
    assert status(stage) == "completed"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (RedriveTask("z", None, None, "", ""), "task_not_found"),
        (RedriveTask("b", None, None, "", ""), "not_dead"),
        (DiscardTask("b", 0, "", ""), "not_dead"),
    ],
)
def test_only_dead_letters_are_redriven_and_discarded(body: Any, code: str) -> None:
    """Anything else is refused, with what it is about."""
    answer = tell(dead(), body)
    assert isinstance(answer, Refused)
    assert answer.code == code


def test_a_task_that_failed_otherwise_was_not_discarded() -> None:
    """Whoever names its generation is told that it is no letter."""
    stage = dead({"a": {"agent": "x"}, "c": {"agent": "x"}}, on_failure="continue")
    answer = tell(stage, DiscardTask("a", 0, "", "me"))
    assert answer.code == "not_dead"
