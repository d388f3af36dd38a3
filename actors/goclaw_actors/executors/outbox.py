"""The way back: what attempts of all threads say, handed to one sink in batches."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeAlias

from goclaw_actors.executors.redaction import KNOWN
from goclaw_actors.work import Consumed, Emitted, Outcome, Progress, Saved, Stepped
from goclaw_events.errors import ValueNotStorable

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.executors.redaction import Redactor
    from goclaw_actors.work import Report, Sink

    Item: TypeAlias = Report

_log = logging.getLogger("goclaw.executors")


def _withheld(item: Item, error: Exception) -> Item:
    """Return what is said instead of something that cannot be redacted."""
    if isinstance(item, Progress):
        return item._replace(message="")
    if isinstance(item, Consumed):
        return item
    if isinstance(item, Emitted):
        return item._replace(value=None)
    if isinstance(item, Stepped):
        return item._replace(result=None, blobs=None)
    if isinstance(item, Saved):
        return item._replace(state=None, blobs=None)
    return Outcome(
        item.stream,
        item.token,
        "failed",
        code=ValueNotStorable.code,
        message=f"what the task said cannot be freed of secrets: {type(error).__name__}",
        retryable=False,
        abandoned=item.abandoned,
    )


class Outbox:
    """Call the sink with everything that has come, from one thread at a time and in order.

    Whoever finds no delivery under way delivers, also what others bring meanwhile. `delivered` is
    called with each batch after the sink returned. Nothing leaves that `redactor` knows as secret.
    """

    def __init__(
        self,
        sink: Sink,
        delivered: Callable[[list[Item]], None],
        redactor: Redactor = KNOWN,
    ) -> None:
        self.redactor = redactor
        self._sink = sink
        self._delivered = delivered
        self._items: list[Item] = []
        self._delivering = False
        self._lock = threading.Lock()

    def put(self, items: list[Item]) -> None:
        """Hand over items; they are with the sink on return unless another thread delivers."""
        with self._lock:
            self._items.extend(items)
            if self._delivering:
                return
            self._delivering = True
        while True:
            with self._lock:
                batch, self._items = self._items, []
                if not batch:
                    self._delivering = False
                    return
            try:
                self._sink(self._redacted(batch))
            except Exception:  # noqa: BLE001 - what the sink does wrong must not end user code
                _log.exception("the sink refused %d outcomes; they are lost", len(batch))
            self._delivered(batch)

    def _redacted(self, batch: list[Item]) -> list[Item]:
        """Return a batch without secrets; one item that cannot be redacted is not the batch."""
        try:
            return self.redactor.items(batch)
        except Exception:  # noqa: BLE001 - the one that it comes from is found, and said, below
            _log.exception("%d outcomes cannot be redacted together", len(batch))
        found: list[Item] = []
        for item in batch:
            try:
                found += self.redactor.items([item])
            except Exception as error:  # noqa: BLE001 - said instead of the outcome
                found.append(_withheld(item, error))
        return found
