"""The rows of a group: read from what is nearest, packed once, forgotten when written."""

from __future__ import annotations

from goclaw_events.value import pack
from goclaw_projections.rows import ABSENT_SHARE, Rows
from goclaw_projections.store import MemoryViewStore


class CountingStore(MemoryViewStore):
    """A store that remembers which keys were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        """Return one row's value."""
        self.asked.append(key)
        return super().get(key)


def test_group_writes_each_changed_row_once_in_its_last_form() -> None:
    """A row changed many times is one change; after `settle` there is none."""
    rows = Rows(MemoryViewStore(), "view")
    row = [0]
    for count in range(5):
        row[0] = count
        rows.put("a", row)
    rows.add("b", "once")
    rows.put("c", [1])
    rows.delete("c")
    assert rows.changes() == [
        (b"view/b", pack("once")),
        (b"view/a", pack([4])),
        (b"view/c", None),
    ]
    rows.settle()
    assert rows.changes() == []
    assert rows.get("a") == [4]


def test_rows_come_from_the_group_then_memory_then_the_store() -> None:
    """What the group changed or memory holds is not asked of the store; a deleted row is None."""
    store = CountingStore()
    store.write([(b"view/old", pack([7])), (b"view/gone", pack([8]))])
    rows = Rows(store, "view")
    rows.put("new", [1])
    rows.put("last", [2], final=True)
    rows.delete("gone")
    assert [rows.get(key) for key in ("new", "last", "gone")] == [[1], [2], None]
    assert store.asked == []
    assert [rows.get("old"), rows.get("old")] == [[7], [7]]
    assert store.asked == [b"view/old"]


def test_memory_holds_a_bounded_number_of_rows_and_no_final_ones() -> None:
    """Over its limit the oldest rows are read again when they are wanted."""
    store = CountingStore()
    rows = Rows(store, "view", cache_rows_max=4)
    for number in range(10):
        rows.put(str(number), [number])
    rows.put("final", [0], final=True)
    store.write(rows.changes())
    rows.settle()
    assert [rows.get(key) for key in ("9", "0", "final")] == [[9], [0], [0]]
    assert store.asked == [b"view/0", b"view/final"]


def test_discard_forgets_changes_that_were_made_in_place() -> None:
    """After a failed write rows are as stored, though the cached ones were changed in place."""
    store = MemoryViewStore()
    store.write([(b"view/a", pack([1]))])
    rows = Rows(store, "view")
    row = rows.get("a")
    row[0] = 2
    rows.put("a", row)
    rows.add("b", 1)
    rows.discard()
    assert rows.changes() == []
    assert rows.get("a") == [1]


def test_what_the_log_proves_to_be_absent_is_not_looked_up() -> None:
    """Here, nor by whom what memory holds is handed to; a row that comes and goes is not written.

    The oldest are forgotten, not all.
    """
    store = CountingStore()
    rows = Rows(store, "view", cache_rows_max=4)
    for number in range(6):
        rows.absent(str(number))
    rows.put("5", [5])
    rows.delete("5")
    assert rows.changes() == []
    rows.put("4", [4])
    store.write(rows.changes())
    rows.settle()
    again = Rows(store, "view", cache_rows_max=4)
    again.plant(rows.held())
    for held in (rows, again):
        assert [held.get(str(number)) for number in range(5)] == [None] * 4 + [[4]]
    assert store.asked == []
    for number in range(10, 10 + 4 * ABSENT_SHARE):
        rows.absent(str(number))
    rows.settle()
    assert rows.has_evicted
    assert [rows.get(key) for key in ("29", "28", "0")] == [None] * 3
    assert store.asked == [b"view/0"]


def test_rows_that_are_known_to_be_read_are_fetched_together() -> None:
    """Those of which memory knows nothing; what it changed is not overwritten."""
    store = CountingStore()
    store.write([(f"view/{key}".encode(), pack([key])) for key in "abc"])
    rows = Rows(store, "view")
    rows.put("b", ["new"])
    rows.absent("d")
    missing = rows.missing(["a", "b", "a", "c", "d", "e"])
    assert missing == ["a", "c", "e"]
    rows.fill(missing, [store.get(rows.whole_key(key)) for key in missing])
    store.asked.clear()
    assert [rows.get(key) for key in "abcde"] == [["a"], ["new"], ["c"], None, None]
    assert store.asked == []
    assert [rows.held_row(key) for key in "abe"] == [["a"], ["new"], None]
