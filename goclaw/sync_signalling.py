"""Talk to work that goes on, for programs without a loop: the methods of `Signalling`, blocking."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from goclaw.signalling import Signalling

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

P = ParamSpec("P")
R = TypeVar("R")
Ask: TypeAlias = "Callable[[str, Mapping[str, Any]], Any]"


class _Blocking(Signalling):
    """Ask at once: its coroutines never wait for a loop."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def _ask_signal(self, operation: str, params: Mapping[str, Any]) -> Any:
        return self._ask(operation, params)


def _blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncSignalling, P], R]:
    """Return a method that blocks until what it asks for is answered."""

    @wraps(method)
    def call(self: SyncSignalling, /, *args: P.args, **named: P.kwargs) -> R:
        asking = method(_Blocking(self._ask_blocking), *args, **named)
        try:
            asking.send(None)
        except StopIteration as ended:
            answer: R = ended.value
            return answer
        raise AssertionError(method)

    return call


class SyncSignalling:
    """Send signals to the tasks of runs: see `Signalling`."""

    steer = _blocking(Signalling.steer)
    adjust = _blocking(Signalling.adjust)
    message = _blocking(Signalling.message)
    send_signal = _blocking(Signalling.send_signal)
    withdraw = _blocking(Signalling.withdraw)
    signal_state = _blocking(Signalling.signal_state)
    interrupt = _blocking(Signalling.interrupt)
    pause = _blocking(Signalling.pause)
    resume = _blocking(Signalling.resume)
    approve = _blocking(Signalling.approve)
    reject = _blocking(Signalling.reject)
    inbox = _blocking(Signalling.inbox)
    skip_task = _blocking(Signalling.skip_task)
    choose_branch = _blocking(Signalling.choose_branch)
    run_again = _blocking(Signalling.run_again)
    add_tasks = _blocking(Signalling.add_tasks)
    replace_rest = _blocking(Signalling.replace_rest)
    path_of = _blocking(Signalling.path_of)

    def _ask_blocking(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Ask for an operation, and wait for its answer."""
        raise AssertionError(operation, params)
