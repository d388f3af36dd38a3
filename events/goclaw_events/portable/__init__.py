"""A log, or a run of it, as one file that any later version reads."""

from goclaw_events.portable.checking import Manifest, check_portable
from goclaw_events.portable.digest import LogDigest, digest_of
from goclaw_events.portable.export import Exported, export_log, export_run
from goclaw_events.portable.importing import import_portable

__all__ = [
    "Exported",
    "LogDigest",
    "Manifest",
    "check_portable",
    "digest_of",
    "export_log",
    "export_run",
    "import_portable",
]
