"""The roof's errors, and the one table that says what each code means at every edge."""

from __future__ import annotations

from typing import Final, NamedTuple

from goclaw_events.errors import CodedError


class GoclawError(CodedError):
    """Root of the errors of the roof."""

    code = "goclaw_error"


class ConfigInvalid(GoclawError):
    """The settings hold faults; `details["faults"]` lists every one with its place."""

    code = "invalid_config"


class ConfigMissing(GoclawError):
    """A configuration file that was asked for by name is not there."""

    code = "config_missing"


class UsageInvalid(GoclawError):
    """A command line, or a call, that says something impossible."""

    code = "usage"


class RunNotFound(GoclawError):
    """No run has this id."""

    code = "run_not_found"


class SagaNotFound(GoclawError):
    """No saga has this id."""

    code = "saga_not_found"


class NotFound(GoclawError):
    """A thing that was asked for by name is not there."""

    code = "not_found"


class DefinitionNotFound(GoclawError):
    """No definition is registered under this name, or not in this version."""

    code = "definition_not_found"


class ScheduleNotFound(GoclawError):
    """No schedule has this name."""

    code = "schedule_not_found"


class LaneNotFound(GoclawError):
    """No lane has this name; a lane of a definition is there from its first run on."""

    code = "lane_not_found"


class LaneResumed(GoclawError):
    """A lane whose end was waited for takes tasks in again: somebody let it go on."""

    code = "lane_resumed"


class LetterNotFound(GoclawError):
    """There is no dead letter of this name."""

    code = "letter_not_found"


class SignalNotFound(GoclawError):
    """No signal of this id was sent to the task."""

    code = "signal_not_found"


class ItemsUnknown(GoclawError):
    """The items of a list are not known yet: what they need has not ended."""

    code = "items_unknown"


class TimedOut(GoclawError):
    """What was waited for did not happen in time; it may still happen."""

    code = "timeout"


class NothingHappens(GoclawError):
    """In a test, what is waited for would be waited for for ever."""

    code = "nothing_happens"


class EngineClosed(GoclawError):
    """The engine was closed, or was never opened."""

    code = "engine_closed"


class EngineOwned(GoclawError):
    """The engine is stopped by the program that opened it, not from outside."""

    code = "engine_owned"


class EngineNotRunning(GoclawError):
    """No engine runs on the data directory."""

    code = "engine_not_running"


class ConnectionLost(GoclawError):
    """The engine went away before it answered: what was asked may have been done."""

    code = "connection_lost"


class InvalidRequest(GoclawError):
    """A request cannot be understood, or its parameters are wrong; nothing was done."""

    code = "invalid_request"


class OperationUnknown(GoclawError):
    """There is no operation of this name."""

    code = "operation_unknown"


class ProtocolMismatch(GoclawError):
    """The two ends of a connection do not speak the same version of the protocol."""

    code = "protocol_mismatch"


class PeerRefused(GoclawError):
    """The other end of a connection belongs to another user."""

    code = "peer_refused"


class RemoteError(GoclawError):
    """An engine reported an error that this program has no class for; `code` is its own."""

    code = "remote_error"

    def __init__(self, code: str, message: str, *, hint: str = "", **details: object) -> None:
        super().__init__(message, hint=hint, **details)
        self.code = code  # type: ignore[misc]


class Meaning(NamedTuple):
    """What a code is at the edges: a process, an HTTP answer, a gRPC answer."""

    exit_code: int
    http: int
    grpc: str


EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_TIMEOUT: Final = 4
EXIT_UNAVAILABLE: Final = 5
EXIT_DAMAGED: Final = 6
EXIT_CONFLICT: Final = 7
EXIT_INTERRUPTED: Final = 130

BUG: Final = Meaning(EXIT_FAILED, 500, "INTERNAL")
_FAILED: Final = Meaning(EXIT_FAILED, 500, "ABORTED")
_INVALID: Final = Meaning(EXIT_USAGE, 400, "INVALID_ARGUMENT")
_TOO_LARGE: Final = Meaning(EXIT_USAGE, 413, "INVALID_ARGUMENT")
_UNSUPPORTED: Final = Meaning(EXIT_USAGE, 501, "UNIMPLEMENTED")
_NOT_FOUND: Final = Meaning(EXIT_NOT_FOUND, 404, "NOT_FOUND")
_GONE: Final = Meaning(EXIT_NOT_FOUND, 410, "NOT_FOUND")
_TIMEOUT: Final = Meaning(EXIT_TIMEOUT, 504, "DEADLINE_EXCEEDED")
_UNAVAILABLE: Final = Meaning(EXIT_UNAVAILABLE, 503, "UNAVAILABLE")
_FORBIDDEN: Final = Meaning(EXIT_UNAVAILABLE, 403, "PERMISSION_DENIED")
_FULL: Final = Meaning(EXIT_UNAVAILABLE, 503, "RESOURCE_EXHAUSTED")
_BUSY: Final = Meaning(EXIT_UNAVAILABLE, 429, "RESOURCE_EXHAUSTED")
_DAMAGED: Final = Meaning(EXIT_DAMAGED, 500, "DATA_LOSS")
_CONFLICT: Final = Meaning(EXIT_CONFLICT, 409, "ALREADY_EXISTS")
_WRONG_STATE: Final = Meaning(EXIT_CONFLICT, 409, "FAILED_PRECONDITION")

MEANINGS: Final[dict[str, Meaning]] = {
    # a fault of ours, or the root of a floor
    "internal_bug": BUG,
    "events_error": BUG,
    "actors_error": BUG,
    "projections_error": BUG,
    "goclaw_error": BUG,
    "remote_error": BUG,
    # what was asked is wrong, and would be wrong again
    "usage": _INVALID,
    "invalid_request": _INVALID,
    "invalid_config": _INVALID,
    "config_missing": _INVALID,
    "invalid_id": _INVALID,
    "invalid_definition": _INVALID,
    "invalid_condition": _INVALID,
    "invalid_duration": _INVALID,
    "invalid_time": _INVALID,
    "invalid_template": _INVALID,
    "agent_invalid": _INVALID,
    "agents_missing": _INVALID,
    "exec_not_allowed": _INVALID,
    "module_failed": _INVALID,
    "bad_params": _INVALID,
    "invalid_input": _INVALID,
    "signal_invalid": _INVALID,
    "signal_unknown": _NOT_FOUND,
    "approval_invalid": _INVALID,
    "approval_rejected": _FAILED,
    "approval_forbidden": _FORBIDDEN,
    "approval_not_open": _WRONG_STATE,
    "approval_decided": _WRONG_STATE,
    "path_refused": _INVALID,
    "schedule_invalid": _INVALID,
    "schedule_time_invalid": _INVALID,
    "params_undeclared": _INVALID,
    "invalid_address_rule": _INVALID,
    "address_forbidden": _INVALID,
    "invalid_position": _INVALID,
    "invalid_export": _INVALID,
    "value_not_storable": _INVALID,
    "value_too_large": _TOO_LARGE,
    "step_invalid": _INVALID,
    "step_repeated": _INVALID,
    "step_secret": _INVALID,
    "turn_too_large": _TOO_LARGE,
    "secrets_unreadable": _INVALID,
    "secret_unfit": _INVALID,
    "signal_unsupported": _UNSUPPORTED,
    "executor_missing": _UNSUPPORTED,
    "operation_unknown": _UNSUPPORTED,
    "protocol_mismatch": _UNSUPPORTED,
    # a run, or a task of it, failed
    "run_failed": _FAILED,
    "saga_failed": _FAILED,
    "run_cancelled": _FAILED,
    "agent_error": _FAILED,
    "condition_failed": _FAILED,
    "exit_nonzero": _FAILED,
    "killed_by_signal": _FAILED,
    "worker_died": _FAILED,
    "worker_failed": _FAILED,
    "launcher_died": _FAILED,
    "template_failed": _FAILED,
    "lost_too_often": _FAILED,
    "child_cancelled": _FAILED,
    "collect_unmet": _FAILED,
    "child_too_deep": _FAILED,
    "lane_key_invalid": _FAILED,
    "collect_invalid": _FAILED,
    "foreach_invalid": _FAILED,
    "fan_out_too_large": _FAILED,
    "spawn_failed": _FAILED,
    "lane_unknown": _FAILED,
    "http_status": _FAILED,
    "host_unresolved": _FAILED,
    "connection_failed": _FAILED,
    "response_too_large": _FAILED,
    "response_invalid": _FAILED,
    "retry_later": _FAILED,
    "rate_limited": _FAILED,
    "stream_poisoned": _FAILED,
    # it is not there
    "not_found": _NOT_FOUND,
    "run_not_found": _NOT_FOUND,
    "saga_not_found": _NOT_FOUND,
    "definition_not_found": _NOT_FOUND,
    "task_not_found": _NOT_FOUND,
    "lane_not_found": _NOT_FOUND,
    "signal_not_found": _NOT_FOUND,
    "letter_not_found": _NOT_FOUND,
    "not_parked": _NOT_FOUND,
    "collector_not_found": _NOT_FOUND,
    "schedule_not_found": _NOT_FOUND,
    "agent_unknown": _NOT_FOUND,
    "definition_unknown": _NOT_FOUND,
    "secret_missing": _NOT_FOUND,
    "program_not_found": _NOT_FOUND,
    "log_missing": _NOT_FOUND,
    "projection_not_found": _NOT_FOUND,
    "history_expired": _GONE,
    # it took too long
    "timeout": _TIMEOUT,
    "nothing_happens": _TIMEOUT,
    # it cannot be done now
    "engine_running": _UNAVAILABLE,
    "directory_busy": _UNAVAILABLE,
    "engine_not_running": _UNAVAILABLE,
    "engine_not_started": _UNAVAILABLE,
    "engine_closed": _UNAVAILABLE,
    "connection_lost": _UNAVAILABLE,
    "peer_refused": _FORBIDDEN,
    "engine_died": _UNAVAILABLE,
    "stopping": _UNAVAILABLE,
    "outcome_unknown": _UNAVAILABLE,
    "journal_unavailable": _UNAVAILABLE,
    "disk_error": _UNAVAILABLE,
    "projection_failed": _UNAVAILABLE,
    "run_unfinished": _UNAVAILABLE,
    "views_closed": _UNAVAILABLE,
    "views_unavailable": _UNAVAILABLE,
    "disk_full": _FULL,
    "executor_exhausted": _FULL,
    "output_full": _FULL,
    "busy": _BUSY,
    "lane_full": _BUSY,
    "task_busy": _BUSY,
    "path_busy": _BUSY,
    "signals_full": _BUSY,
    "lane_dropped": _BUSY,
    "lane_draining": _UNAVAILABLE,
    "lane_quota_exceeded": _FAILED,
    "task_duplicate": _CONFLICT,
    "step_changed": _CONFLICT,
    "steps_unused": _CONFLICT,
    "task_replaced": _CONFLICT,
    "unique_full": _BUSY,
    # what is kept is not what was written
    "log_damaged": _DAMAGED,
    "log_behind_watermark": _DAMAGED,
    "blob_missing": _DAMAGED,
    "unknown_type": _DAMAGED,
    "baseline_form_unknown": _DAMAGED,
    "views_damaged": _DAMAGED,
    # it contradicts what is already there
    "log_mismatch": _WRONG_STATE,
    "log_unfinished": _WRONG_STATE,
    "directory_not_empty": _WRONG_STATE,
    "bundle_exists": _WRONG_STATE,
    "bundle_unwritable": _UNAVAILABLE,
    "loss_not_accepted": _WRONG_STATE,
    "cursor_from_lost_history": _WRONG_STATE,
    "agent_taken": _CONFLICT,
    "command_conflict": _CONFLICT,
    "schedule_exists": _CONFLICT,
    "definition_conflict": _CONFLICT,
    "catalogue_full": _WRONG_STATE,
    "command_refused": _WRONG_STATE,
    "run_finished": _WRONG_STATE,
    "saga_finished": _WRONG_STATE,
    "saga_not_ready": _WRONG_STATE,
    "run_changed": _WRONG_STATE,
    "saga_changed": _WRONG_STATE,
    "schedule_changed": _WRONG_STATE,
    "lane_changed": _WRONG_STATE,
    "lane_resumed": _WRONG_STATE,
    "task_finished": _WRONG_STATE,
    "signal_consumed": _WRONG_STATE,
    "task_not_held": _WRONG_STATE,
    "items_unknown": _WRONG_STATE,
    "not_dead": _WRONG_STATE,
    "path_task_begun": _WRONG_STATE,
    "plan_changed": _WRONG_STATE,
    "path_limit": _WRONG_STATE,
    "history_full": _WRONG_STATE,
    "step_missing": _WRONG_STATE,
    "collector_ended": _WRONG_STATE,
    "schedule_busy": _WRONG_STATE,
    "snapshot_missing": _WRONG_STATE,
    "engine_owned": _WRONG_STATE,
}
"""One row for each code of every `CodedError` in the house; a test holds it complete."""


def meaning_of(code: str) -> Meaning:
    """Return what a code means at the edges; a code without a row is a fault of ours."""
    return MEANINGS.get(code, BUG)
