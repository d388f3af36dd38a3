"""The team: each agent takes plain data, does one thing, and returns plain data.

The sync ones read files and parse, in threads; the async ones compute, on the loop of the agents.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.agents import agent
from goclaw.demo.outline import Unreadable, outline
from goclaw.demo.report import as_text

if TYPE_CHECKING:
    from goclaw_actors.executors.context import TaskContext

RANKED_MAX: Final = 10
LONG_LINES: Final = 100
COMPLEX_FROM: Final = 10
MANY_FUNCTIONS: Final = 10


@agent("demo.scan")
def scan(ctx: TaskContext, root: str, packages: dict[str, list[str]]) -> dict[str, Any]:
    """Take stock: which files of each package are there, and how large they are."""
    present: dict[str, list[str]] = {}
    size = 0
    for at, (name, files) in enumerate(packages.items()):
        ctx.check_cancelled()
        ctx.progress(at / len(packages), name)
        there = [file for file in files if Path(root, file).is_file()]
        size += sum(Path(root, file).stat().st_size for file in there)
        present[name] = there
    return {"packages": present, "files": sum(map(len, present.values())), "bytes": size}


@agent("demo.parse")
def parse(ctx: TaskContext, root: str, package: str, files: list[str]) -> dict[str, Any]:
    """Parse the files of a package into outlines."""
    lines = classes = 0
    functions: list[list[Any]] = []
    imports: set[str] = set()
    broken: list[list[str]] = []
    for at, file in enumerate(files):
        ctx.check_cancelled()
        ctx.progress(at / len(files), file)
        try:
            found = outline(Path(root, file).read_bytes())
        except (Unreadable, OSError) as error:
            broken.append([file, str(error)])
            continue
        lines += found.lines
        classes += found.classes
        imports.update(found.imports)
        functions += [[file, *function] for function in found.functions]
    return {
        "package": package,
        "files": len(files),
        "lines": lines,
        "classes": classes,
        "functions": functions,
        "imports": sorted(imports),
        "broken": broken,
    }


@agent("demo.measure")
async def measure(ctx: TaskContext, outlines: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - agents are called with it
    """Measure a package: complexity, length, documentation, and its worst functions."""
    functions = [
        {"file": file, "name": name, "line": line, "lines": lines, "complexity": complexity}
        for file, name, line, lines, complexity, _ in outlines["functions"]
    ]
    functions.sort(key=lambda function: (-function["complexity"], function["name"]))
    return {
        "package": outlines["package"],
        "files": outlines["files"],
        "lines": outlines["lines"],
        "classes": outlines["classes"],
        "functions": len(functions),
        "documented": sum(function[5] for function in outlines["functions"]),
        "complexity": sum(function["complexity"] for function in functions),
        "complex": sum(function["complexity"] >= COMPLEX_FROM for function in functions),
        "long": sum(function["lines"] >= LONG_LINES for function in functions),
        "worst": functions[:3],
        "broken": outlines["broken"],
    }


@agent("demo.summarise")
async def summarise(ctx: TaskContext, measures: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG001 - agents are called with it
    """Add the measures of all packages up."""
    keys = ("files", "lines", "classes", "functions", "documented", "complexity", "complex", "long")
    totals: dict[str, Any] = {key: sum(one[key] for one in measures) for key in keys}
    totals["packages"] = len(measures)
    totals["broken"] = [broken for one in measures for broken in one["broken"]]
    return totals


@agent("demo.couple")
async def couple(ctx: TaskContext, imports: dict[str, list[str]]) -> list[dict[str, Any]]:  # noqa: ARG001 - agents are called with it
    """Count for each package how many others import it, the most imported first."""
    known = {name.partition(".")[0] for name in imports}
    importers: Counter[str] = Counter()
    for name, imported in imports.items():
        importers.update(other for other in imported if other in known - {name.partition(".")[0]})
    return [
        {"package": package, "imported_by": count}
        for package, count in sorted(importers.items(), key=lambda item: (-item[1], item[0]))
    ][:RANKED_MAX]


@agent("demo.rank")
async def rank(ctx: TaskContext, measures: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:  # noqa: ARG001 - agents are called with it
    """Return the functions (`by` complexity) or packages (`by` documentation) to look at first."""
    if by == "complexity":
        worst = [function for one in measures for function in one["worst"]]
        worst.sort(key=lambda function: (-function["complexity"], function["name"]))
        return worst[:RANKED_MAX]
    shares = [
        {"package": one["package"], "share": one["documented"] / one["functions"],
         "functions": one["functions"]}
        for one in measures
        if one["functions"] >= MANY_FUNCTIONS
    ]  # fmt: skip
    shares.sort(key=lambda one: (one["share"], -one["functions"], one["package"]))
    return shares[:RANKED_MAX]


@agent("demo.report")
def report(ctx: TaskContext, findings: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - agents are called with it
    """Write the report that people read, beside the data that it is made of."""
    return {**findings, "text": as_text(findings)}
