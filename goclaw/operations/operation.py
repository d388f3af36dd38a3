"""An operation: a name, the parameters it takes, and what answers it.

Transports carry operations and know none of them: the socket today, others later. Parameters and
answers are plain data: what msgpack and JSON can say, and `BlobRef` in the facts of a
subscription.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goclaw.errors import InvalidRequest
from goclaw.param_faults import faults_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from goclaw.engine import Engine
    from goclaw.housekeeping import Housekeeping
    from goclaw.operations.ground import Ground

Reads: TypeAlias = "Callable[[Ground, Any], Any]"
Acts: TypeAlias = "Callable[[Engine, Any], Awaitable[Any]]"
Keeps: TypeAlias = "Callable[[Housekeeping, Any], Any]"
Follows: TypeAlias = "Callable[[Ground, Any], AsyncGenerator[Any, None]]"


class Params(BaseModel):
    """The parameters of an operation: unknown names are refused, nothing is converted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


IfVersion = Annotated[int, Field(ge=0)] | None
"""The version that what a command changes must still have; None: any."""


class NoParams(Params):
    """For an operation that takes none."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked.

    `kind` says how: `read` is answered from views and log, on any thread, also where no engine
    runs; `follow` yields parts for as long as they are wanted, from the same places; `act` needs
    an engine, and runs on its loop; `keep` keeps house in a log, one at a time on a thread of
    their own, also where no engine runs. `idle`: an engine that begins nothing is enough for it.
    `local`: it names places of this machine, or ends the process: not for a network. `safe`:
    asking twice is like asking once. `log_only`: the views are not looked at.
    """

    name: str
    kind: Literal["read", "act", "keep", "follow"]
    params: type[Params]
    handler: Any
    about: str
    answers: str
    idle: bool = False
    local: bool = False
    safe: bool = True
    log_only: bool = False

    def accept(self, given: Mapping[str, Any]) -> Params:
        """Check parameters; raises `InvalidRequest` with every fault."""
        try:
            return self.params.model_validate(given)
        except ValidationError as error:
            faults = faults_of(error)
            lines = "".join(
                f"\n  {': '.join(filter(None, (fault['path'], fault['message'])))}"
                for fault in faults
            )
            msg = f"{self.name} does not take these parameters:{lines}"
            raise InvalidRequest(msg, hint="see docs/reference/socket.md", faults=faults) from None


def read(
    name: str,
    params: type[Params],
    handler: Reads,
    about: str,
    answers: str,
    *,
    local: bool = False,
    log_only: bool = False,
) -> Operation:
    """Return an operation that is answered from views and log: `handler(ground, params)`."""
    return Operation(name, "read", params, handler, about, answers, local=local, log_only=log_only)


def act(
    name: str,
    params: type[Params],
    handler: Acts,
    about: str,
    answers: str,
    *,
    idle: bool = False,
    local: bool = False,
    safe: bool = True,
) -> Operation:
    """Return an operation of an engine: `await handler(engine, params)`."""
    return Operation(
        name, "act", params, handler, about, answers, idle=idle, local=local, safe=safe
    )


def keep(name: str, params: type[Params], handler: Keeps, about: str, answers: str) -> Operation:
    """Return an operation that keeps house: `handler(house, params)`; it may take long."""
    return Operation(name, "keep", params, handler, about, answers, local=True, log_only=True)


def follow(
    name: str, params: type[Params], handler: Follows, about: str, answers: str
) -> Operation:
    """Return an operation that goes on answering: `async for part in handler(ground, params)`."""
    return Operation(name, "follow", params, handler, about, answers)
