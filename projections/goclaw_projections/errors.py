"""The errors of the projections floor."""

from __future__ import annotations

from goclaw_events.errors import CodedError


class ProjectionsError(CodedError):
    """Root of the errors of the projections floor."""

    code = "projections_error"


class ProjectionFailed(ProjectionsError):
    """A projection raised and was stopped: what it answers is out of date."""

    code = "projection_failed"


class ProjectionUnknown(ProjectionsError):
    """No projection has this name."""

    code = "projection_not_found"


class ViewsBehind(ProjectionsError):
    """The views did not reach a position in time; they may still reach it."""

    code = "timeout"


class ViewsClosed(ProjectionsError):
    """The views were asked after they were closed."""

    code = "views_closed"


class ViewsUnavailable(ProjectionsError):
    """The views cannot be read or written now; the log is not touched by this."""

    code = "views_unavailable"


class ViewsDamaged(ProjectionsError):
    """What is stored is not what was written: the views must be built again."""

    code = "views_damaged"
