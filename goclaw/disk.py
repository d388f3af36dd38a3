"""What a directory stands on: its file system, how it is mounted, and whether flushes can be meant.

Nothing short of a power cut proves that a flush is honest. What can be seen from here are the
ways in which it is known not to be.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw.problems import Finding, problem

if TYPE_CHECKING:
    from collections.abc import Iterable

MOUNTINFO: Final = Path("/proc/self/mountinfo")
VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"}
)
FLUSH_LEAST_MS: Final = 0.01
"""No device makes 4 KiB durable in less: what answers sooner did not try."""
_LIES_OPTIONS: Final = frozenset({"nobarrier", "barrier=0"})
_SEPARATOR: Final = "-"


class Mount(NamedTuple):
    """A mounted file system: its type, what it is made of, and its options."""

    fs_type: str
    source: str
    options: tuple[str, ...]


def mount_of(path: Path, mountinfo: Iterable[str] | None = None) -> Mount | None:
    """Return what `path`, which must exist, stands on; None where the system does not say."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    if mountinfo is None:
        try:
            mountinfo = MOUNTINFO.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return None
    for line in mountinfo:
        fields = line.split()
        if len(fields) > 2 and fields[2] == wanted and _SEPARATOR in fields:  # noqa: PLR2004 - proc(5)
            rest = fields[fields.index(_SEPARATOR) + 1 :]
            options = dict.fromkeys([*fields[5].split(","), *rest[-1].split(",")])
            return Mount(rest[0], rest[1], tuple(options))
    return None


def disk_finding(mount: Mount | None, flush_p50_ms: float | None) -> Finding:
    """Judge what a directory stands on."""
    name = "disk"
    if mount is None:
        return Finding(name, "ok", "this system does not say what the directory stands on")
    if mount.fs_type in VOLATILE:
        return problem("disk_volatile", name, f"{mount.fs_type} is memory")
    if mount.fs_type in NETWORK:
        return problem("disk_network", name, f"{mount.fs_type} from {mount.source}")
    lie = _lie(mount, flush_p50_ms)
    if lie:
        return problem("flush_dishonest", name, lie)
    return Finding(name, "ok", f"{mount.fs_type} on {mount.source}; nothing says that flushes lie")


def _lie(mount: Mount, flush_p50_ms: float | None) -> str:
    """Say how flushes are known to be left out; '' where nothing is known."""
    options = sorted(_LIES_OPTIONS & set(mount.options))
    if options:
        return f"{mount.fs_type} is mounted with {options[0]}"
    if "eatmydata" in os.environ.get("LD_PRELOAD", ""):
        return "libeatmydata is loaded: it leaves flushes out"
    if flush_p50_ms is not None and flush_p50_ms < FLUSH_LEAST_MS:
        return f"a flush takes {flush_p50_ms} ms, which no device can do"
    return ""
