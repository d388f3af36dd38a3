"""What facts refer to by hash: plans and large values. Pure: a hash names the same for ever."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol

from goclaw_events.plan import plan_at, read_plan
from goclaw_events.value import BlobRef, follow, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.journal import Journal
    from goclaw_events.plan import Plan
    from goclaw_events.value import Value

PLANS_MAX: Final = 256
VALUES_MAX: Final = 64


class Contents(Protocol):
    """Look up what a reference stands for."""

    def plan(self, ref: BlobRef) -> Plan:
        """Return a compiled definition."""
        ...

    def value(self, ref: BlobRef) -> Value:
        """Return the value at the reference's place."""
        ...


class StoredContents:
    """Read from the journal, keeping the last used. Any thread may call.

    `hold` keeps what is not durable yet; it may be given again by whoever submits it.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()
        self._mapped: OrderedDict[BlobRef, Plan] = OrderedDict()
        self._values: OrderedDict[bytes, Value] = OrderedDict()
        self._lent: tuple[Mapping[bytes, bytes], ...] = ()

    def lend(self, blobs: Mapping[bytes, bytes]) -> None:
        """Look also into the blobs of a batch that is not durable yet."""
        self._lent = (*self._lent, blobs)

    def take_back(self, blobs: Mapping[bytes, bytes]) -> None:
        """Look no more into what was lent: it is durable, or given up."""
        self._lent = tuple(lent for lent in self._lent if lent is not blobs)

    def _blob(self, ref: BlobRef) -> bytes:
        for lent in self._lent:
            data = lent.get(ref.sha256)
            if data is not None:
                return data
        return self._journal.blob(ref)

    def hold(self, ref: BlobRef, plan: Plan) -> None:
        """Keep a plan that is about to be stored."""
        _keep(self._plans, ref.sha256, plan, PLANS_MAX)

    def plan(self, ref: BlobRef) -> Plan:
        """Return a compiled definition; raises `BlobMissing`."""
        plan = self._plans.get(ref.sha256)
        if plan is None:
            plan = read_plan(self._blob(ref), self._blob, self._known)
            _keep(self._plans, ref.sha256, plan, PLANS_MAX)
        return plan if not ref.path else self._of_items(plan, ref)

    def _of_items(self, plan: Plan, ref: BlobRef) -> Plan:
        """Return the plan of a run that works on the items of a list."""
        found = self._mapped.get(ref)
        if found is None:
            found = plan_at(plan, ref)
            _keep(self._mapped, ref, found, PLANS_MAX)
        return found

    def _known(self, ref: BlobRef) -> Plan | None:
        return self._plans.get(ref.sha256)

    def value(self, ref: BlobRef) -> Value:
        """Return the value at the reference's place; raises `BlobMissing`."""
        value = self._values.get(ref.sha256)
        if value is None:
            value = unpack(self._blob(ref))
            _keep(self._values, ref.sha256, value, VALUES_MAX)
        else:
            self._values.move_to_end(ref.sha256)  # a list may be read once for each of its items
        return follow(value, ref.path)


def _keep(cache: OrderedDict[Any, Any], key: object, value: Any, limit: int) -> None:
    cache[key] = value
    while len(cache) > limit:
        cache.popitem(last=False)
