"""What commands print: data on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if code != 10}  # noqa: PLR2004 - the line feed

# JSON escapes the others itself; these too can only stand inside of its strings.
_JSON_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(127, 160)}


def emit(value: object) -> None:
    """Print one JSON value on one line of stdout."""
    sys.stdout.write(json_line(value) + "\n")
    sys.stdout.flush()


def json_line(value: object) -> str:
    """Return `value` as JSON on one line.

    What JSON cannot say is said otherwise: bytes as `{"$bytes": hex}`, a number that is not
    finite as null, anything else by its text.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_other)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_other)


def json_pretty(value: object) -> str:
    """Return `value` as JSON over several lines, safe to show; it says what `json_line` says."""
    text = json.dumps(json.loads(json_line(value)), indent=2, ensure_ascii=False)
    return text.translate(_JSON_CONTROLS)


def program() -> str:
    """Return how a person can call this program again: `goclaw`, if a shell would find it."""
    import shutil
    from pathlib import Path

    name = Path(sys.argv[0])
    if shutil.which("goclaw") is not None or name.name != "goclaw":
        return "goclaw"
    try:
        return str(name.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(name)


def say(text: str) -> None:
    """Print a line for the person who waits, to stderr, control characters made visible."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """Return `text` with control characters written out, so that data cannot steer a terminal."""
    return text.translate(_CONTROLS)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns to stdout; headings are bold on a terminal with colours."""
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max([len(head), *(len(row[i]) for row in cells)]) for i, head in enumerate(headers)]
    heading = _line([head.upper() for head in headers], widths)
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    lines = [f"\x1b[1m{heading}\x1b[0m" if bold else heading]
    lines += [_line(row, widths) for row in cells]
    sys.stdout.write("\n".join(lines) + "\n")


def console(*, stderr: bool = False) -> Console:
    """Return a rich console: for data, or with `stderr` for progress. It minds NO_COLOR."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def _other(value: object) -> object:
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": value.hex()}
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
