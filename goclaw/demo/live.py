"""Live control, shown: a writer is steered in mid-stream, interrupted, resumed; a panel votes.

The writer's model is a script that stands in for one: it streams words, and would go on for long.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final

from goclaw.builder import Workflow
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from goclaw.config import Settings
    from goclaw_actors.executors.context import TaskContext

WORD_S: Final = 0.02
WORDS_MAX: Final = 500
"""A model that nobody stops comes to an end all the same."""
SEEN_BEFORE: Final = 8
"""So many words are read before the writer is steered, and again before it is interrupted."""
WAIT_S: Final = 60.0
STYLES: Final = {
    "rambling": "It is well known, and has often been said, that logs, on the whole, are",
    "brief": "Write first. Act later. Lose nothing.",
    "closing": "That is all.",
}
VOTES: Final = {"ann": "publish", "ben": "revise", "cat": "publish"}


@dataclass(frozen=True, slots=True)
class Story:
    """What came of it: the run, its text, what was said to the writer, and what the panel said."""

    run_id: str
    status: str
    text: str
    steered: str
    interrupted: str
    attempts: int
    verdict: str


async def model(style: str) -> AsyncIterator[str]:
    """Stream words, as a model does."""
    words = STYLES[style].split()
    for word in words if style == "closing" else islice(cycle(words), WORDS_MAX):
        await asyncio.sleep(WORD_S)
        yield word


async def write(ctx: TaskContext) -> dict[str, Any]:
    """Write until told otherwise: a message is the next style; an interrupt keeps the words."""
    state = ctx.resumed_state or {"style": "rambling", "words": []}
    style, words = state["style"], state["words"]
    while True:
        stream = ctx.stream(model(style))
        try:
            async for word in stream:
                words.append(word)
                await ctx.emit(word)
        except Interrupted:
            ctx.save({"style": "closing", "words": words})
            raise
        if not stream.steered:
            return {"text": " ".join(words), "attempts": ctx.attempt}
        style = stream.steered[-1].body["style"]


async def judge(ctx: TaskContext, answer: str) -> dict[str, str]:
    """Say what one of the panel thinks."""
    del ctx
    return {"answer": answer}


def agents() -> AgentRegistry:
    """Return the writer and the judges."""
    registry = AgentRegistry()
    registry.register("demo.write", write)
    registry.register("demo.judge", judge)
    return registry


def newsroom() -> Workflow:
    """Return a writer, a panel beside it, and the majority of the panel."""
    workflow = Workflow("newsroom")
    writer = workflow.task("writer", agent="demo.write")
    panel = [
        workflow.task(name, agent="demo.judge", with_={"answer": vote}, labels={"role": "judge"})
        for name, vote in VOTES.items()
    ]
    verdict = workflow.task("verdict", collect={"tasks": panel, "rule": "majority", "by": "answer"})
    workflow.output = {
        "text": writer.result["text"],
        "attempts": writer.result["attempts"],
        "verdict": verdict.result["answer"],
    }
    return workflow


async def show(settings: Settings, say: Callable[[str], None]) -> Story:
    """Let it all happen; `say` gets each line. Raises `EngineRunning`, `TimedOut`."""
    async with Engine(settings.data_dir, settings=settings, agents=agents()) as engine:
        run_id = (await engine.submit(newsroom(), submitted_by="demo")).run_id
        say(f"run {run_id}: a writer streams, and a panel of {len(VOTES)} thinks")
        cursor = await _read(engine, run_id, None, say)
        said = await engine.message(
            run_id, {"style": "brief"}, task="writer", sender="editor", wait="consumed",
            timeout_s=WAIT_S,
        )  # fmt: skip
        say(f"editor: be brief                 (the message is {said.state}, in mid-stream)")
        cursor = await _read(engine, run_id, cursor, say)
        state = await engine.interrupt(
            run_id, "writer", reason="lunch", sender="editor", wait_s=WAIT_S
        )
        say(f"editor: stop for lunch           (the writer is {state}, its words are saved)")
        await engine.resume(run_id, "writer", sender="editor")
        say("editor: go on                    (a new attempt begins with what was saved)")
        ended = await engine.result(run_id, timeout_s=WAIT_S)
        made = ended.unwrap()
        words = made["text"].split()
        say(f"writer: ... {' '.join(words[-SEEN_BEFORE:])}")
        say(f"the panel's majority: {made['verdict']}")
        return Story(
            run_id, ended.status, made["text"], said.state, state, made["attempts"],
            made["verdict"],
        )  # fmt: skip


async def _read(
    engine: Engine, run_id: str, after: str | None, say: Callable[[str], None]
) -> str | None:
    """Read some words as they are written; return where to go on."""
    words: list[str] = []
    async for chunk in engine.output(run_id, "writer", after=after):
        words.append(chunk.value)
        after = chunk.cursor
        if len(words) == SEEN_BEFORE:
            break
    say(f"writer: {' '.join(words)} ...")
    return after
