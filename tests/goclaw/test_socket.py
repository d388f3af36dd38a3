"""The socket of an engine: who may talk to it, what it bears, and what it answers."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import goclaw
from goclaw.asking import ask
from goclaw.config import Settings
from goclaw.errors import ConnectionLost, EngineNotRunning, InvalidRequest, PeerRefused
from goclaw.operations.desk import EngineDesk
from goclaw.operations.operation import NoParams, Operation
from goclaw.operations.table import OPERATIONS
from goclaw.wire import address, connection, listener
from goclaw.wire.address import NAME
from goclaw.wire.frames import DEPTH_MAX, PROTOCOL, REQUEST_BYTES_MAX, frame, read_request
from goclaw.wire.link import Link
from goclaw.wire.sync_link import SyncLink
from goclaw_actors.errors import Busy
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.envelope import InvalidPosition
from goclaw_events.errors import ValueNotStorable
from goclaw_events.value import BlobRef, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
HELLO = {"hello": PROTOCOL, "client": "test"}


def waiting(name: str = "waiting", wait: str = "1h") -> WorkflowDefinition:
    """Return a workflow that only waits."""
    return WorkflowDefinition.model_validate({"name": name, "tasks": {"w": {"wait": wait}}})


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Return an engine on a directory."""
    async with goclaw.Engine(tmp_path / "data") as opened:
        yield opened


class Peer:
    """A client that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, message: Any) -> None:
        """Send a message in a frame."""
        self.writer.write(frame(message))

    async def hear(self) -> dict[str, Any] | None:
        """Return the next message; None when the engine has closed the connection."""
        try:
            async with asyncio.timeout(WAIT_S):
                length = int.from_bytes(await self.reader.readexactly(4), "big")
                message: dict[str, Any] = unpack(await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.writer.close()
            return None
        return message


async def peer_of(engine: goclaw.Engine, hello: Any = None) -> Peer:
    """Return a peer that has said hello."""
    assert engine.settings is not None
    path = engine.parts.data_dir
    assert path is not None
    peer = Peer(*await asyncio.open_unix_connection(str(path / NAME)))
    peer.say(HELLO if hello is None else hello)
    return peer


async def greeted(engine: goclaw.Engine) -> Peer:
    """Return a peer that was answered."""
    peer = await peer_of(engine)
    answer = await peer.hear()
    assert answer is not None
    assert answer["hello"] == PROTOCOL
    return peer


async def test_only_the_owner_may_connect(engine: goclaw.Engine, tmp_path: Path) -> None:
    """The socket is 0600, and goes with the engine."""
    path = tmp_path / "data" / NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await engine.stop()
    assert not path.exists()


def test_another_users_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says whose the other end is: neither ours nor root's is refused."""
    one, other = socket.socketpair()
    with one, other:
        assert address.check_peer(one) == (os.getpid(), os.geteuid())
        monkeypatch.setattr(
            address, "_UCRED", type("Cred", (), {"size": 12, "unpack": lambda *_: (1, 4242, 1)})()
        )
        with pytest.raises(PeerRefused, match="user 4242"):
            address.check_peer(one)


async def test_what_a_dead_engine_left_is_replaced(tmp_path: Path) -> None:
    """A stale socket is no engine; the next one takes its place. What is no socket is left."""
    data = tmp_path / "data"
    async with goclaw.Engine(data):
        pass
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(data / NAME))
    with pytest.raises(EngineNotRunning) as caught:
        SyncLink(data)
    assert caught.value.code == "engine_not_running"
    assert "goclaw engine start" in caught.value.hint
    async with goclaw.Engine(data), goclaw.Client(data) as client:
        assert (await client.status())["state"] == "running"
    (data / NAME).write_text("mine")
    async with goclaw.Engine(data) as engine:
        assert engine.status()["connections"] == 0
    assert (data / NAME).read_text() == "mine"


async def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    """An address holds 107 bytes; a directory may have a longer name."""
    data = tmp_path / ("x" * 100) / ("y" * 100)
    async with goclaw.Engine(data), goclaw.Client(data) as client:
        result = await client.run(waiting(wait="0s"), timeout_s=WAIT_S)
    assert result.status == "completed"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"\xc1", "invalid_request"),
        (msgpack.packb([1, 2]), "invalid_request"),
        (msgpack.packb({"id": 1, "op": "engine.status"}), "invalid_request"),
        (msgpack.packb({"id": "1", "op": "engine.status", "params": {}}), "invalid_request"),
        (msgpack.packb({"id": 1, "op": "x", "params": {}, "more": 1}), "invalid_request"),
        (msgpack.packb({1: 2}), "invalid_request"),
        (msgpack.packb({"id": 1, "op": "x", "params": {"a": msgpack.ExtType(1, b"x" * 40)}}),
         "invalid_request"),
    ],
)  # fmt: skip
async def test_what_is_no_request_ends_the_connection(
    engine: goclaw.Engine, said: bytes, code: str
) -> None:
    """Typed, and without harm to others."""
    peer, other = await greeted(engine), await greeted(engine)
    peer.writer.write(len(said).to_bytes(4, "big") + said)
    answer = await peer.hear()
    assert answer is not None
    assert (answer["id"], answer["error"]["code"]) == (None, code)
    assert await peer.hear() is None
    other.say({"id": 1, "op": "engine.status", "params": {}})
    assert await other.hear() is not None
    other.writer.close()


@given(
    st.binary(max_size=64)
    | st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=3) | st.binary(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(msgpack.packb)
)
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    """Nothing else is raised, whatever the bytes are."""
    with suppress(InvalidRequest):
        assert read_request(data) == msgpack.unpackb(data)


async def test_sizes_and_depths_are_limited(engine: goclaw.Engine) -> None:
    """A length over the limit is refused before a byte of it is read; so is a deep value."""
    peer = await greeted(engine)
    peer.writer.write((REQUEST_BYTES_MAX + 1).to_bytes(4, "big"))
    answer = await peer.hear()
    assert answer is not None
    assert answer["error"]["code"] == "value_too_large"
    assert await peer.hear() is None
    deep: Any = 1
    for _ in range(DEPTH_MAX):
        deep = [deep]
    peer = await greeted(engine)
    peer.say({"id": 1, "op": "submit", "params": {"name": "x", "input": {"a": deep}}})
    answer = await peer.hear()
    assert answer is not None
    assert answer["error"]["code"] == "invalid_request"
    assert await peer.hear() is None


async def test_the_first_word_is_hello(
    engine: goclaw.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is refused; who says nothing is cut off."""
    peer = await peer_of(engine, {"hello": PROTOCOL + 1})
    answer = await peer.hear()
    assert answer is not None
    assert answer["error"]["code"] == "protocol_mismatch"
    assert await peer.hear() is None
    monkeypatch.setattr(connection, "HELLO_S", 0.01)
    path = engine.parts.data_dir
    assert path is not None
    silent = Peer(*await asyncio.open_unix_connection(str(path / NAME)))
    assert await silent.hear() is None


async def test_requests_of_a_connection_do_not_wait_for_each_other(engine: goclaw.Engine) -> None:
    """Who waits for a result holds nobody up; the number of those who wait is limited."""
    await engine.submit(waiting(), run_id="long")
    peer = await greeted(engine)
    for number in range(connection.IN_FLIGHT_MAX):
        peer.say({"id": number, "op": "result", "params": {"run_id": "long"}})
    peer.say({"id": 1000, "op": "engine.status", "params": {}})
    answer = await peer.hear()
    assert answer is not None
    assert (answer["id"], answer["error"]["code"]) == (1000, "busy")
    peer.say({"drop": 0})
    await asyncio.sleep(0)
    while True:  # the place is free once the dropped request has gone
        peer.say({"id": 1001, "op": "engine.status", "params": {}})
        answer = await peer.hear()
        assert answer is not None
        if "ok" in answer:
            break
    await engine.cancel("long")
    ended = [await peer.hear() for _ in range(connection.IN_FLIGHT_MAX - 1)]
    assert {answer["ok"]["status"] for answer in ended if answer} == {"cancelled"}
    peer.writer.close()


async def test_connections_are_limited(
    engine: goclaw.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told so, and the others are served."""
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 2)
    peers = [await greeted(engine) for _ in range(2)]
    late = await peer_of(engine)
    answer = await late.hear()
    assert answer is not None
    assert answer["error"]["code"] == "busy"
    for peer in peers:
        peer.writer.close()
    late.writer.close()


async def test_a_subscriber_that_does_not_read_holds_little(engine: goclaw.Engine) -> None:
    """The engine sends a few parts ahead of what was asked for, then waits; others go on."""
    for number in range(60):
        await engine.run(waiting(wait="0s"), run_id=f"r{number}")
    peer = await greeted(engine)
    peer.say({"id": 1, "op": "subscribe", "params": {"follow": False}})
    parts = [await peer.hear() for _ in range(connection.PARTS_AHEAD)]
    assert all(part is not None and "part" in part for part in parts)
    peer.say({"id": 2, "op": "engine.status", "params": {}})
    answer = await peer.hear()
    assert answer is not None
    assert answer["id"] == 2, "a part came that nobody asked for"
    numbers = [fact[0][1] for part in parts if part for fact in part["part"]["facts"]]
    while True:
        peer.say({"more": 1})
        answer = await peer.hear()
        assert answer is not None
        if "ok" in answer:
            break
        numbers += [fact[0][1] for fact in answer["part"]["facts"]]
    assert numbers == list(range(1, engine.parts.journal.durable(0) + 1))
    peer.writer.close()


async def test_errors_keep_their_class(engine: goclaw.Engine, tmp_path: Path) -> None:
    """Code, message, hint and details cross; a refusal is one, an unknown code is `RemoteError`."""
    from goclaw.errors import DefinitionNotFound, OperationUnknown, RemoteError, RunNotFound
    from goclaw.results import CommandRefused
    from goclaw.wire.errors import error_data, error_from
    from goclaw_events.faults import InvalidDefinition

    async with goclaw.Client(tmp_path / "data") as client:
        with pytest.raises(RunNotFound):
            await client.result("nobody")
        with pytest.raises(DefinitionNotFound):
            await client.submit("nothing")
        with pytest.raises(OperationUnknown, match=r"engine\.stats") as unknown:
            await client.ask("engine.stats")
        assert "engine.status" in unknown.value.hint
        with pytest.raises(InvalidRequest) as invalid:
            await client.ask("runs.list", limit=0, lines=3)
        assert [fault["path"] for fault in invalid.value.details["faults"]] == ["limit", "lines"]  # type: ignore[attr-defined]
        (tmp_path / "bad.yaml").write_text("name: 1\ntasks: {a: {agnt: x}}\n")
        with pytest.raises(InvalidDefinition, match=r"2:13.*agnt") as bad:
            await client.submit(tmp_path / "bad.yaml")
        assert str(tmp_path / "bad.yaml") in bad.value.message
        await client.submit(waiting(), run_id="one")
        with pytest.raises(CommandRefused) as refused:
            await client.submit(waiting("other"), run_id="one")
        assert refused.value.code == "command_conflict"
    data = error_data(Busy("full", hint="wait", n=1)) | {"code": "of_tomorrow"}
    found = error_from(data)
    assert isinstance(found, RemoteError)
    assert (found.code, found.message, found.hint) == ("of_tomorrow", "full", "wait")
    assert error_data(ValueError("x"))["code"] == "internal_bug"


async def test_a_bug_in_an_operation_stays_its_own(
    engine: goclaw.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked is told, and so is the log; what cannot be said is an error too."""

    async def bug(*_: Any) -> Any:
        raise RuntimeError("a bug")

    async def unsayable(*_: Any) -> Any:
        return {"x": object()}

    for name, handler in (("bug", bug), ("unsayable", unsayable)):
        operation = Operation(name, "act", NoParams, handler, "", "")
        monkeypatch.setitem(OPERATIONS, name, operation)
    async with goclaw.Client(tmp_path / "data") as client:
        with pytest.raises(goclaw_error("internal_bug"), match="a bug"):
            await client.ask("bug")
        with pytest.raises(goclaw_error("value_not_storable")):
            await client.ask("unsayable")
        assert (await client.status())["state"] == "running"


def goclaw_error(code: str) -> type[Exception]:
    """Return the class that an error with a code comes out as."""
    from goclaw.wire.errors import error_from

    return type(error_from({"code": code, "message": "", "hint": "", "details": {}}))


async def test_large_values_cross_whole(engine: goclaw.Engine, tmp_path: Path) -> None:
    """Inputs and results over 64 KiB are blobs in the log, and values at both ends."""
    text = "ä" * 300_000
    definition = WorkflowDefinition.model_validate(
        {
            "name": "large",
            "input": {"text": {"type": "string"}},
            "tasks": {"e": {"agent": "goclaw.echo", "with": {"text": "${input.text}"}}},
            "output": "${tasks.e.result}",
        }
    )
    async with goclaw.Client(tmp_path / "data") as client:
        ended = await client.run(definition, input={"text": text}, timeout_s=WAIT_S)
        assert ended.result == {"text": text}
        record = await client.show(ended.run_id, timeline=True)
        assert record["input"] == {"text": text}
        facts = [recorded async for recorded in client.subscribe(follow=False)]
    assert any(isinstance(recorded.fact[2], BlobRef) for recorded in facts if recorded.fact[2:])


async def test_who_waits_hears_that_the_connection_is_lost(engine: goclaw.Engine) -> None:
    """The engine goes on without the peer that left, and the peer knows that it has no answer."""
    await engine.submit(waiting(), run_id="long")
    path = engine.parts.data_dir
    assert path is not None
    link = Link(path)
    answer = asyncio.create_task(link.ask("result", {"run_id": "long"}))
    await link.ask("engine.status", {})
    await link.close()
    with pytest.raises(ConnectionLost):
        await answer
    assert (await link.ask("engine.status", {}))["state"] == "running"
    await link.close()


async def test_a_position_of_no_partition_is_refused(engine: goclaw.Engine) -> None:
    """Every question that waits for a position says so, at once."""
    desk = EngineDesk(engine)
    waiting = [one for one in OPERATIONS.values() if "min_position" in one.params.model_fields]
    assert len(waiting) > 5
    for operation in waiting:
        fields = operation.params.model_fields.items()
        names = [name for name, field in fields if field.is_required()]
        required = {name: "/x" if name == "lane" else "x" for name in names}
        with pytest.raises(InvalidPosition, match="no partition 9"):
            await desk.ask(operation.name, {**required, "min_position": "9:1"})
    desk.close()


def test_a_directory_is_asked_as_a_socket_is(tmp_path: Path) -> None:
    """What cannot be sent is refused where no engine runs, too."""
    with pytest.raises(ValueNotStorable):
        ask(Settings(data_dir=tmp_path), "runs.find", run="\udcff")
