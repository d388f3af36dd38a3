"""Definitions registered with an engine: durable, by name and version, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.errors import DefinitionNotFound
from goclaw.results import CommandRefused
from goclaw.upkeep import Upkeep
from goclaw_actors.decider import Decider
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.facts import MessageFailed

if TYPE_CHECKING:
    from pathlib import Path


def definition(word: str, version: str | None = None, name: str = "greet") -> WorkflowDefinition:
    """Return a workflow that says a word."""
    return WorkflowDefinition.model_validate(
        {"name": name, "version": version, "tasks": {"w": {"wait": "0s"}}, "output": word}
    )


async def test_what_is_registered_runs_by_its_name(tmp_path: Path) -> None:
    """The latest by default, any by its version, after a restart too."""
    async with goclaw.Engine(tmp_path / "data") as engine:
        first = await engine.register(definition("one"), registered_by="me")
        assert (str(first), first.registered_by) == ("greet@1", "me")
        await engine.register(definition("two", "beta"))
        assert (await engine.run("greet")).result == "two"
        assert str(await engine.register(definition("one"))) == "greet@1"
    async with goclaw.Engine(tmp_path / "data") as engine:
        assert (await engine.run("greet")).result == "two"
        assert (await engine.run("greet@1")).result == "one"
        catalogue = engine.parts.catalogue
        assert catalogue.names() == ["greet"]
        assert [known.version for known in catalogue.versions("greet")] == ["1", "beta"]


async def test_it_outlives_its_history(tmp_path: Path) -> None:
    """Archived and given up, a name still stands for what it stood for."""
    path = tmp_path / "data"
    async with goclaw.Engine(path) as engine:
        await engine.register(definition("one"))
        await engine.register(definition("two"))
        await engine.run("greet")
    settings = goclaw.Settings(data_dir=path)
    with Upkeep(settings) as upkeep:
        assert list(upkeep.house.archive(0, upkeep.journal.durable(0) + 1))
        plan = upkeep.expirer.plan(0, upkeep.journal.durable(0))
        assert plan is not None
        upkeep.expirer.expire(plan)
    async with goclaw.Engine(path) as engine:
        catalogue = engine.parts.catalogue
        assert catalogue.names() == ["greet"]
        known = [(one.version, one.registered_at_ns) for one in catalogue.versions("greet")]
        assert known == [("1", None), ("2", None)]
        assert str(await engine.register(definition("one"))) == "greet@1"
        assert (await engine.run("greet")).result == "two"
        assert str(await engine.register(definition("three"))) == "greet@3"


async def test_a_version_never_changes() -> None:
    """Another body under the same version is refused."""
    async with goclaw.Engine(":memory:") as engine:
        await engine.register(definition("one", "v"))
        with pytest.raises(CommandRefused, match="another body") as caught:
            await engine.register(definition("two", "v"))
        assert caught.value.code == "definition_conflict"
        assert (await engine.run("greet@v")).result == "one"


async def test_a_name_that_is_not_there_is_said_to_be_missing() -> None:
    """With what was probably meant."""
    async with goclaw.Engine(":memory:") as engine:
        await engine.register(definition("one", "v"))
        with pytest.raises(DefinitionNotFound, match=r"did you mean 'greet'\?"):
            await engine.submit("gret")
        with pytest.raises(DefinitionNotFound, match=r"no version 'w'.*known: v"):
            await engine.submit("greet@w")


async def test_a_bug_in_a_catalogue_harms_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who registers is told, the message is parked, a run of the same name is left alone."""
    async with goclaw.Engine(":memory:") as engine:
        slow = WorkflowDefinition.model_validate({"name": "s", "tasks": {"w": {"wait": "1h"}}})
        await engine.submit(slow, run_id="greet")

        def decide(*_: Any) -> Any:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            kinds = engine.parts.deciders
            known: Decider[Any] = kinds["catalogue"]
            broken = Decider(
                known.initial, decide, known.evolve, known.is_final, known.encode, known.form
            )
            patch.setitem(kinds, "catalogue", broken)
            with pytest.raises(CommandRefused, match="a bug"):
                await engine.register(definition("one"))
        await engine.cancel("greet")
        assert (await engine.result("greet", timeout_s=10)).status == "cancelled"
        found = [r.fact async for r in _all(engine) if isinstance(r.fact, MessageFailed)]
        assert [fact.target for fact in found] == ["catalogue/greet"]


async def _all(engine: goclaw.Engine) -> Any:
    end = engine.parts.tail.end().places[0][1]
    async for recorded in engine.subscribe():
        yield recorded
        if recorded.position.number >= end:
            return
