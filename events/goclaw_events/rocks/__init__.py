"""The log on disk: RocksDB for frames and rows, files for large blobs."""

from goclaw_events.rocks.directory import verify_directory
from goclaw_events.rocks.journal import RocksJournal, log_exists

__all__ = ["RocksJournal", "log_exists", "verify_directory"]
