"""The findings of an audit as a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_BROKEN_MAX = 5


def as_text(findings: Mapping[str, Any]) -> str:
    """Return a report of some screens' width and one screen's height."""
    totals, scan = findings["totals"], findings["scan"]
    documented = _share(totals["documented"], totals["functions"])
    lines = [
        f"Audit of {findings['root']}",
        "",
        (
            f"  {totals['packages']:,} packages, {totals['files']:,} files, "
            f"{scan['bytes'] / 1e6:,.1f} MB, {totals['lines']:,} lines"
        ),
        (
            f"  {totals['functions']:,} functions, {totals['classes']:,} classes; "
            f"{documented} of the functions have a docstring"
        ),
        (
            f"  {totals['complex']:,} functions of complexity 10 or more, "
            f"{totals['long']:,} of 100 lines or more"
        ),
        "",
        "The most complex functions",
        *_table(
            ("complexity", "lines", "where"),
            [
                (one["complexity"], one["lines"], f"{one['file']}:{one['line']} {one['name']}")
                for one in findings["complex"]
            ],
        ),
        "",
        "The packages that most others import",
        *_table(
            ("imported by", "package"),
            [(one["imported_by"], one["package"]) for one in findings["imported"]],
        ),
        "",
        "The least documented packages",
        *_table(
            ("documented", "functions", "package"),
            [
                (f"{one['share']:.0%}", one["functions"], one["package"])
                for one in findings["undocumented"]
            ],
        ),
    ]
    broken = totals["broken"]
    if broken:
        lines += ["", f"{len(broken)} files could not be parsed"]
        lines += [f"  {file}: {why}" for file, why in broken[:_BROKEN_MAX]]
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return lines: numbers to the right, the last column to the left."""
    cells = [tuple(headers), *[tuple(str(cell) for cell in row) for row in rows]]
    if len(cells) == 1:
        return ["  none"]
    widths = [max(len(row[at]) for row in cells) for at in range(len(headers) - 1)]
    return [
        "  " + "  ".join([*(c.rjust(w) for c, w in zip(row, widths, strict=False)), row[-1]])
        for row in cells
    ]
