"""Where an engine listens: `engine.sock` in its data directory, for its own user alone."""

from __future__ import annotations

import os
import socket
import stat
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw.errors import EngineNotRunning, PeerRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME: Final = "engine.sock"
PATH_BYTES_MAX: Final = 107
"""What an address of a Unix socket holds (`sun_path`), without its final zero."""
BACKLOG: Final = 64
_UCRED: Final = struct.Struct("iII")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name of `path` that fits into an address, by way of a descriptor of its directory."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def bind(data_dir: Path) -> socket.socket:
    """Return a listening socket; whoever calls holds the lock of the data directory.

    It gets its name when it can be connected to and only its owner may; what a process that
    died left there is replaced. Raises `OSError`.
    """
    path, fresh = data_dir / NAME, data_dir / f"{NAME}.new"
    if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
        raise FileExistsError(17, "it is no socket", str(path))
    fresh.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _short(fresh) as address:
            listening.bind(address)
        fresh.chmod(0o600)
        listening.listen(BACKLOG)
        listening.setblocking(False)
        fresh.rename(path)
    except BaseException:
        listening.close()
        fresh.unlink(missing_ok=True)
        raise
    return listening


def unbind(data_dir: Path) -> None:
    """Take the name away; whoever calls still holds the lock of the data directory."""
    with suppress(OSError):
        (data_dir / NAME).unlink(missing_ok=True)


def connect(data_dir: Path, timeout_s: float) -> socket.socket:
    """Return a socket connected to the engine of a data directory, which belongs to our user.

    Raises `EngineNotRunning`, `PeerRefused`.
    """
    path = data_dir / NAME
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connected.settimeout(timeout_s)
    try:
        with _short(path) as address:
            connected.connect(address)
        check_peer(connected)
    except OSError as error:
        connected.close()
        raise not_running(data_dir) from error
    except BaseException:
        connected.close()
        raise
    return connected


def not_running(data_dir: Path) -> EngineNotRunning:
    """Return the error that says what to do."""
    msg = f"no engine runs on {data_dir}"
    hint = f"goclaw engine start --data-dir {data_dir}"
    return EngineNotRunning(msg, hint=hint, data_dir=str(data_dir))


class Peer(NamedTuple):
    """The other end of a connection, as the kernel knows it; a process id of 0 is not known."""

    pid: int
    uid: int


def check_peer(connected: socket.socket) -> Peer:
    """Return who the other end is; where the system does not tell, our user: the mode is 0600.

    Raises `PeerRefused` unless it belongs to our user, or to root.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return Peer(0, os.geteuid())
    pid, uid, _ = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    if uid not in (os.geteuid(), 0):
        msg = f"the other end of the socket is of user {uid}"
        raise PeerRefused(msg, hint="an engine talks to programs of its own user only")
    return Peer(pid, uid)
