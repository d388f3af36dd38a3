"""Tasks that make requests, in whole runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

import goclaw
from goclaw.config import HttpSettings, Settings
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.definition import WorkflowDefinition
from tests.actors.executors.web import Web

if TYPE_CHECKING:
    from goclaw.results import RunResult


def definition(url: str, **task: Any) -> WorkflowDefinition:
    """Return a workflow that asks, and hands what it was told to a second request."""
    return WorkflowDefinition.model_validate(
        {
            "name": "ask",
            "input": {"who": {"type": "string"}},
            "tasks": {
                "ask": {"http": {"url": url + "?who=${input.who}"}, **task},
                "tell": {
                    "http": {
                        "method": "POST",
                        "url": url,
                        "headers": {"X-Status": "${tasks.ask.result.status}"},
                        "body": {"heard": "${tasks.ask.result.body.name}"},
                    },
                    "needs": ["ask"],
                },
            },
            "output": "${tasks.tell.result.body}",
        }
    )


def opened(*allow: str) -> Settings:
    """Return settings that open addresses."""
    http = HttpSettings(allow_private=allow)
    base = Settings()
    return base.model_copy(update={"executors": base.executors.model_copy(update={"http": http})})


async def run(workflow: WorkflowDefinition, *allow: str) -> RunResult:
    """Run it on a log in memory."""
    settings = opened(*allow)
    registry = AgentRegistry()
    async with goclaw.Engine(":memory:", settings=settings, agents=registry) as engine:
        return await engine.run(workflow, input={"who": "you"}, timeout_s=30)


async def test_one_request_feeds_the_next() -> None:
    """Templates reach URL, headers and body; a server that fails once is asked again."""
    with Web() as web:
        url = web.json("/name", {"name": "Ada"})
        answer = web.routes["/name"]
        failures = [(503, {"Retry-After": "0"}, b"busy")]
        web.routes["/name"] = lambda seen: failures.pop() if failures else answer(seen)
        retry = {"attempts": 2, "initial": 0}
        outcome = await run(definition(url, retry=retry), f"127.0.0.1:{web.port}")
    assert outcome.unwrap() == {"name": "Ada"}
    assert [seen["path"] for seen in web.seen] == ["/name?who=you", "/name?who=you", "/name"]
    keys = [seen["headers"]["idempotency-key"] for seen in web.seen]
    assert keys[0] == keys[1] == f"{outcome.run_id}/ask/0"
    assert (web.seen[2]["headers"]["x-status"], web.seen[2]["body"]) == ("200", b'{"heard":"Ada"}')


async def test_a_private_address_is_closed_by_default() -> None:
    """The run fails typed, and nothing was asked."""
    with Web() as web:
        outcome = await run(definition(web.json("/name", 1), retry={"attempts": 5}))
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.task) == ("address_forbidden", "ask")
    assert "executors.http.allow_private" in outcome.error.message
    assert web.seen == []


async def test_cancelling_a_run_ends_its_request() -> None:
    """The server does not have to answer first."""
    with Web() as web:
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        url = web.hangs("/hang")
        wait = web.routes["/hang"]

        def hang(seen: dict[str, Any]) -> Any:
            loop.call_soon_threadsafe(asked.set)
            return wait(seen)

        web.routes["/hang"] = hang
        settings = opened("127.0.0.0/8")
        async with goclaw.Engine(":memory:", settings=settings, agents=AgentRegistry()) as engine:
            submitted = await engine.submit(definition(url), input={"who": "x"})
            await asyncio.wait_for(asked.wait(), 20)
            await engine.cancel(submitted.run_id)
            outcome = await engine.result(submitted.run_id, timeout_s=20)
    assert outcome.status == "cancelled"


async def test_a_secret_reaches_the_server_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a header and in the query; the result, which repeats the URL, does not hold it."""
    monkeypatch.setenv("GOCLAW_SECRET_API_KEY", "hush-hush-1234")
    with Web() as web:
        url = web.json("/keyed", 1)
        http = {
            "url": url + "?key=${secret.API_KEY}",
            "headers": {"Authorization": "Bearer ${secret.API_KEY}"},
        }
        workflow = WorkflowDefinition.model_validate(
            {"name": "keyed", "input": {"who": {}}, "tasks": {"ask": {"http": http}}}
        )
        outcome = await run(workflow, "127.0.0.0/8")
    seen = web.seen[0]
    assert seen["headers"]["authorization"] == "Bearer hush-hush-1234"
    assert seen["path"] == "/keyed?key=hush-hush-1234"
    assert outcome.unwrap()["status"] == 200
    assert "hush" not in str(outcome.result)


def test_a_rule_that_cannot_be_read_is_a_fault_of_the_settings() -> None:
    """It is found when the settings are read, not when the first request is made."""
    with pytest.raises(ValidationError, match="names no network"):
        HttpSettings(allow_private=("nonsense",))
