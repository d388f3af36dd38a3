"""The workflow of an audit: scan, fan out by package, parse and measure, then rank and report."""

from __future__ import annotations

import os
import re
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from goclaw.builder import Workflow
from goclaw.demo import agents
from goclaw.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PACKAGES_MAX: Final = 250
FILES_MAX: Final = 100_000
SKIPPED: Final = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "node_modules", "venv", "test", "tests"}
)
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_.:-]")


def standard_library() -> Path:
    """Return where the standard library of this Python is."""
    return Path(sysconfig.get_path("stdlib"))


def packages_of(root: Path) -> dict[str, list[str]]:
    """Return the Python files below `root` by package: each folder, and each file of `root` itself.

    Tests, hidden folders and installed packages are left out. Over 250 packages are taken together
    by their first letters, so that they stay a few hundred tasks. Raises `NotFound` where there is
    no Python file.
    """
    found: dict[str, list[str]] = {}
    for at, file in enumerate(_python_files(root)):
        if at == FILES_MAX:
            break
        folder = file.parent.as_posix()
        name = file.stem if folder == "." else folder.replace("/", ".")
        found.setdefault(_as_id(name), []).append(file.as_posix())
    if not found:
        msg = f"there are no Python files in {root}"
        raise NotFound(msg, hint="name a folder with Python source", path=str(root))
    letters = 3
    while len(found) > PACKAGES_MAX and letters:
        merged: dict[str, list[str]] = {}
        for name, files in found.items():
            merged.setdefault(name[:letters], []).extend(files)
        found, letters = merged, letters - 1
    return dict(sorted(found.items()))


def _python_files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("."))
        for file in sorted(files):
            if file.endswith(".py"):
                yield Path(folder, file).relative_to(root)


def _as_id(name: str) -> str:
    return _NO_ID.sub("_", name).lstrip(".:-")[:150] or "_"


def build(root: Path, packages: dict[str, list[str]]) -> Workflow:
    """Return the workflow that audits these packages of `root`."""
    wf = Workflow("audit", description=f"audit of {root}")
    wf.lane("files", concurrency=8)
    wf.lane("thought", concurrency=32)
    scan = wf.task(
        "scan", agent=agents.scan, lane="files", with_={"root": str(root), "packages": packages}
    )
    imports, measures = {}, []
    for name in packages:
        parsed = wf.task(
            f"parse:{name}",
            agent=agents.parse,
            lane="files",
            timeout="60s",
            retry={"attempts": 2, "initial": "100ms"},
            with_={"root": str(root), "package": name, "files": scan.result["packages"][name]},
        )
        measured = wf.task(
            f"measure:{name}",
            agent=agents.measure,
            lane="thought",
            with_={"outlines": parsed.result},
        )
        imports[name] = parsed.result["imports"]
        measures.append(measured.result)
    conclude(wf, root, scan.result, imports, measures)
    return wf


def conclude(
    wf: Workflow,
    root: Path,
    scan: object,
    imports: Mapping[str, object],
    measures: Sequence[object],
) -> None:
    """Add what is done once every package is measured."""
    totals = wf.task(
        "summarise", agent=agents.summarise, lane="thought", with_={"measures": measures}
    )
    imported = wf.task("couple", agent=agents.couple, lane="thought", with_={"imports": imports})
    ranked = {
        by: wf.task(
            f"rank:{by}", agent=agents.rank, lane="thought", with_={"measures": measures, "by": by}
        )
        for by in ("complexity", "documentation")
    }
    findings = {
        "root": str(root),
        "scan": scan,
        "totals": totals.result,
        "complex": ranked["complexity"].result,
        "imported": imported.result,
        "undocumented": ranked["documentation"].result,
    }
    written = wf.task("report", agent=agents.report, lane="files", with_={"findings": findings})
    wf.output = written.result
