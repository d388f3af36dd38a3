"""The common form of an error, and the root of those that the ground floor raises."""

from __future__ import annotations

from typing import ClassVar


class CodedError(Exception):
    """Say what went wrong, where, and what to do next, under a stable code.

    `code` never changes once released: exit codes, HTTP and gRPC statuses are looked up by it.
    `details` holds JSON-able values that name the place; `hint` is the next step for a person.
    """

    code: ClassVar[str] = "internal_bug"

    def __init__(self, message: str, *, hint: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class EventsError(CodedError):
    """Root of the errors of the ground floor."""

    code = "events_error"


class InvalidId(EventsError):
    """An id is empty, too long, or holds a character that ids may not hold."""

    code = "invalid_id"


class ValueNotStorable(EventsError):
    """A value cannot be written as msgpack: say which type, and where in the value."""

    code = "value_not_storable"


class ValueTooLarge(EventsError):
    """A value exceeds the largest size that the log keeps."""

    code = "value_too_large"


class UnknownType(EventsError):
    """A record names a type or version that this build cannot read."""

    code = "unknown_type"


class LogDamaged(EventsError):
    """What is stored is not what was written: the place is in the details."""

    code = "log_damaged"


class LogBehindWatermark(LogDamaged):
    """The log is shorter than what was already acknowledged."""

    code = "log_behind_watermark"


class LogMissing(EventsError):
    """There is no log where one was asked for."""

    code = "log_missing"


class LogMismatch(EventsError):
    """The directory holds another log than the one asked for (partitions, format)."""

    code = "log_mismatch"


class EngineRunning(EventsError):
    """Another process holds the data directory."""

    code = "engine_running"


class DirectoryBusy(EngineRunning):
    """A command that is no engine holds the data directory, for as long as it takes."""

    code = "directory_busy"


class JournalUnavailable(EventsError):
    """The log cannot be written now; nothing of the batch was acknowledged."""

    code = "journal_unavailable"


class JournalFull(JournalUnavailable):
    """The disk is full: reading goes on, writing waits for space."""

    code = "disk_full"


class JournalBroken(JournalUnavailable):
    """The disk reported an input/output error: the node must stop."""

    code = "disk_error"


class LossNotAccepted(EventsError):
    """The number of facts to give up is not the one that was accepted: nothing was changed."""

    code = "loss_not_accepted"


class BlobMissing(LogDamaged):
    """A value is referred to that is not stored."""

    code = "blob_missing"


class CursorFromLostHistory(EventsError):
    """A cursor lies beyond the point where history was given up: start again from the baseline."""

    code = "cursor_from_lost_history"


class HistoryExpired(EventsError):
    """What was asked for lies below the place where history was given up: it is gone for good."""

    code = "history_expired"


class ExportInvalid(EventsError):
    """A file is no export of a log, or is one of a newer format."""

    code = "invalid_export"


class LogUnfinished(EventsError):
    """Something in the log waits to be gone on with, so it cannot be taken apart."""

    code = "log_unfinished"


class DirectoryNotEmpty(EventsError):
    """A directory holds something already: nothing is written over it."""

    code = "directory_not_empty"
