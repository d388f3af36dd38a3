"""What a Python file consists of, measured on its syntax tree."""

from __future__ import annotations

import ast
import threading
from typing import Final, NamedTuple

SOURCE_BYTES_MAX: Final = 4 * 1024 * 1024

_BRANCHES: Final = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension,
    ast.match_case, ast.Assert,
)  # fmt: skip
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


class Function(NamedTuple):
    """A function: its complexity is 1 and 1 more for each way that its control flow can branch.

    McCabe, "A Complexity Measure", IEEE Transactions on Software Engineering SE-2 (1976).
    """

    name: str
    line: int
    lines: int
    complexity: int
    is_documented: bool


class Outline(NamedTuple):
    """A file: its lines, functions and classes, and the top-level names that it imports."""

    lines: int
    classes: int
    functions: list[Function]
    imports: list[str]


_PARSING: Final = threading.Lock()
"""CPython 3.11 counts the depth of syntax trees once for all threads: two at once can raise."""


class Unreadable(Exception):
    """A file is not Python that this interpreter can parse."""


def outline(source: bytes) -> Outline:
    """Parse a source text; raises `Unreadable`."""
    if len(source) > SOURCE_BYTES_MAX:
        msg = f"more than {SOURCE_BYTES_MAX} bytes"
        raise Unreadable(msg)
    try:
        with _PARSING:
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(str(error) or type(error).__name__) from error
    found = _Walk()
    found.visit(tree)
    functions = [
        Function(name, node.lineno, _length(node), found.complexity[i], _has_docstring(node))
        for i, (name, node) in enumerate(found.functions)
    ]
    return Outline(source.count(b"\n") + 1, found.classes, functions, sorted(found.imports))


class _Walk:
    """Walk a tree without recursion: source may be nested deeper than Python's stack."""

    def __init__(self) -> None:
        self.functions: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]] = []
        self.complexity: list[int] = []
        self.classes = 0
        self.imports: set[str] = set()

    def visit(self, tree: ast.Module) -> None:
        """Count everything in a tree; a branch counts for the innermost function."""
        waiting: list[tuple[ast.AST, str, int]] = [(tree, "", -1)]
        while waiting:
            node, prefix, inside = waiting.pop()
            if isinstance(node, _FUNCTIONS):
                prefix, inside = f"{prefix}{node.name}", len(self.functions)
                self.functions.append((prefix, node))
                self.complexity.append(1)
                prefix += "."
            elif isinstance(node, ast.ClassDef):
                prefix = f"{prefix}{node.name}."
                self.classes += 1
            elif isinstance(node, ast.Import):
                self.imports.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                self.imports.add(node.module.partition(".")[0])
            elif inside >= 0:
                self.complexity[inside] += _ways(node)
            waiting.extend((child, prefix, inside) for child in ast.iter_child_nodes(node))


def _ways(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return int(isinstance(node, _BRANCHES))


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _has_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())), *_]:
            return True
    return False
