"""What every store of views promises, and what RocksDB's adds."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from goclaw_events.errors import EngineRunning
from goclaw_projections.errors import ViewsClosed
from goclaw_projections.rocks_store import RocksViewStore
from goclaw_projections.store import MemoryViewStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_projections.store import ViewStore


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ViewStore]:
    """Return an empty store of each kind."""
    found: ViewStore = (
        MemoryViewStore() if request.param == "memory" else RocksViewStore(tmp_path / "views")
    )
    yield found
    found.close()


def keys(store: ViewStore, prefix: bytes, after: bytes | None = None) -> list[bytes]:
    """Return the keys of a scan."""
    return [key for key, _ in store.scan(prefix, after=after)]


def backwards(store: ViewStore, prefix: bytes, after: bytes | None = None) -> list[bytes]:
    """Return the keys of a scan backwards."""
    return [key for key, _ in store.scan(prefix, after=after, backwards=True)]


def test_rows_are_put_replaced_and_deleted(store: ViewStore) -> None:
    """The last change of a key in order of writing holds."""
    store.write([(b"a/1", b"x"), (b"a/2", b"y")])
    store.write([(b"a/1", b"z"), (b"a/2", None), (b"a/3", None)])
    assert [store.get(key) for key in (b"a/1", b"a/2", b"a/3")] == [b"z", None, None]
    assert list(store.scan(b"a/")) == [(b"a/1", b"z")]


def test_scans_stay_within_their_prefix_and_begin_behind_a_key(store: ViewStore) -> None:
    """A scan yields the keys of its prefix in order, either way, `after` left out."""
    store.write([(key, b"") for key in (b"a/1", b"b/3", b"b/1", b"b/2", b"b0", b"c/1")])
    assert keys(store, b"b/") == [b"b/1", b"b/2", b"b/3"]
    assert keys(store, b"b/", b"b/1") == [b"b/2", b"b/3"]
    assert keys(store, b"b/", b"b/15") == [b"b/2", b"b/3"]
    assert keys(store, b"b/", b"b/3") == []
    assert backwards(store, b"b/") == [b"b/3", b"b/2", b"b/1"]
    assert backwards(store, b"b/", b"b/3") == [b"b/2", b"b/1"]
    assert backwards(store, b"b/", b"b/25") == [b"b/2", b"b/1"]
    assert backwards(store, b"b/", b"b/1") == []
    assert keys(store, b"z/") == backwards(store, b"z/") == []


def test_long_scans_are_whole_while_rows_are_written(store: ViewStore) -> None:
    """A scan over many rows yields each that was there, whatever is written meanwhile."""
    wanted = [b"r/%05d" % number for number in range(2_000)]
    store.write([(key, key) for key in wanted])
    seen = []
    for key, value in store.scan(b"r/"):
        assert key == value
        seen.append(key)
        if len(seen) == 100:
            store.write([(b"q/1", b""), (b"r/00050", b"r/00050")])
    assert seen == wanted
    assert backwards(store, b"r/") == wanted[::-1]


def test_dropping_a_prefix_comes_before_the_puts_of_the_same_write(store: ViewStore) -> None:
    """One write can drop a projection's rows and put its first ones."""
    store.write([(b"a/1", b"x"), (b"a/2", b"x"), (b"ab/1", b"x"), (b"!c/a", b"x")])
    store.write([(b"a/2", b"new"), (b"!c/a", b"0")], [b"a/"])
    assert list(store.scan(b"a/")) == [(b"a/2", b"new")]
    assert store.get(b"ab/1") == b"x"
    assert store.get(b"!c/a") == b"0"


def test_closed_store_says_so(store: ViewStore) -> None:
    """After `close`, which may be repeated, every call raises `ViewsClosed`."""
    store.write([(b"a/1", b"x")])
    store.close()
    store.close()
    with pytest.raises(ViewsClosed):
        store.get(b"a/1")
    with pytest.raises(ViewsClosed):
        store.write([(b"a/1", b"x")])
    with pytest.raises(ViewsClosed):
        list(store.scan(b"a/"))


def test_closing_ends_a_running_scan(tmp_path: Path) -> None:
    """A scan that is not finished does not keep the directory locked."""
    first = RocksViewStore(tmp_path / "views")
    first.write([(b"a/%04d" % number, b"x") for number in range(100)])
    scan = first.scan(b"a/")
    assert next(scan)[0] == b"a/0000"
    first.close()
    second = RocksViewStore(tmp_path / "views")
    with pytest.raises(ViewsClosed):
        list(scan)
    assert second.get(b"a/0099") == b"x"
    second.close()


def test_second_opener_is_told_who_holds_the_views(tmp_path: Path) -> None:
    """Two processes, or two handles, cannot hold the same views."""
    first = RocksViewStore(tmp_path / "views")
    with pytest.raises(EngineRunning):
        RocksViewStore(tmp_path / "views")
    first.close()


def test_damaged_views_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database that cannot be opened is dropped with a warning: the log has everything."""
    path = tmp_path / "views"
    store = RocksViewStore(path)
    store.write([(b"a/1", b"x")])
    store.close()
    (path / "CURRENT").write_text("MANIFEST-999999\n")
    again = RocksViewStore(path)
    assert again.get(b"a/1") is None
    assert "built again" in caplog.text
    again.close()


_DIES = """
import os, sys
from pathlib import Path
from goclaw_projections.rocks_store import RocksViewStore
store = RocksViewStore(Path(sys.argv[1]))
value = os.urandom(100_000)
for count in range(200):
    number = b"%d" % count
    store.write([(b"a/1", number + value), (b"b/1", number + value), (b"!c", number)])
os._exit(9)
"""


def test_killed_process_leaves_whole_writes(tmp_path: Path) -> None:
    """After a crash the rows and the checkpoint are those of the same, earlier write."""
    path = tmp_path / "views"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _DIES, str(path)], check=False, env=env, timeout=60
    )
    assert done.returncode == 9
    store = RocksViewStore(path)
    checkpoint = store.get(b"!c")
    assert checkpoint is not None
    assert 0 < int(checkpoint) < 199
    for key in (b"a/1", b"b/1"):
        value = store.get(key)
        assert value is not None
        assert value[: len(checkpoint)] == checkpoint
        assert len(value) == len(checkpoint) + 100_000
    store.close()
