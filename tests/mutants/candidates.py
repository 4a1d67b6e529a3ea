"""What can be taken away from a snippet: a statement, an option, a condition.

Not what only Python would miss: a docstring, an import, an annotation, a decorator, a definition,
a constant, and the one assignment of a local name. `main()` is the demonstration, and is left out.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.snippets.running import MINIBROKER, all_snippets, companions, name

Function = ast.FunctionDef | ast.AsyncFunctionDef
STATEMENTS = (
    ast.Expr,
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.Return,
    ast.Raise,
    ast.Delete,
    ast.Assert,
    ast.Break,
    ast.Continue,
)


@dataclass(frozen=True)
class Mutant:
    """A file of snippets/ with one thing taken away: the text from `start` to `end`."""

    file: str
    line: int
    start: int
    end: int
    instead: str
    text: str

    @property
    def taken(self) -> str:
        """What was taken away, on one line."""
        return " ".join(self.text.split()).strip(", ")

    def __str__(self) -> str:
        change = f" -> {self.instead}" if self.instead in {"True", "False"} else ""
        return f"{self.file}:{self.line}: {self.taken}{change}"

    def of(self, code: str) -> str:
        """Return the file's text without what was taken away."""
        assert code[self.start : self.end] == self.text, f"{self.file} was changed meanwhile"
        return f"{code[: self.start]}{self.instead}{code[self.end :]}"


def mutants_of(file: Path) -> list[Mutant]:
    """Return all mutants of a file that compile, in the order of its text."""
    code = file.read_text()
    lines = code.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def place(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    def mutant(node: ast.stmt | ast.expr | ast.keyword, instead: str) -> Mutant:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = place(node.lineno, node.col_offset)
        end = place(node.end_lineno, node.end_col_offset)
        if isinstance(node, ast.keyword):
            start, end = _with_comma(code, start, end)
        return Mutant(name(file), node.lineno, start, end, instead, code[start:end])

    found = {
        mutant(node, instead)
        for function in _functions(ast.parse(code).body)
        for node, instead in _in(function)
    }
    return sorted(
        (one for one in found if _compiles(one, code)), key=lambda one: (one.start, one.instead)
    )


def _functions(body: list[ast.stmt]) -> Iterator[Function]:
    for node in body:
        if isinstance(node, Function) and node.name != "main":
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body)


def _in(function: Function) -> Iterator[tuple[ast.stmt | ast.expr | ast.keyword, str]]:
    stored = Counter(
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    unread: list[ast.AST] = [*function.body]
    while unread:
        node = unread.pop()
        if isinstance(node, STATEMENTS) and not _only_python_misses(node, stored):
            yield node, "pass"
        elif isinstance(node, ast.keyword) and node.arg:
            yield node, ""
        elif isinstance(node, ast.If | ast.IfExp):
            yield node.test, "True"
            yield node.test, "False"
        if isinstance(node, Function | ast.ClassDef):
            unread += node.body
        else:
            unread += ast.iter_child_nodes(node)


def _only_python_misses(node: ast.stmt, stored: Counter[str]) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return True
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
    names = [
        each.id
        for target in targets
        for each in ast.walk(target)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    ]
    return any(stored[each] == 1 for each in names)


def _with_comma(code: str, start: int, end: int) -> tuple[int, int]:
    """Widen the span of an option by one of the commas beside it."""
    behind = len(code[end:]) - len(code[end:].lstrip())
    if code[end + behind] == ",":
        end += behind + 1
        return start, end + len(code[end:]) - len(code[end:].lstrip())
    before = code[:start].rstrip()
    return (len(before) - 1 if before.endswith(",") else start), end


def _compiles(mutant: Mutant, code: str) -> bool:
    try:
        compile(mutant.of(code), mutant.file, "exec")
    except SyntaxError:
        return False
    return True


def pool(only: str) -> dict[Mutant, list[str]]:
    """Return the mutants of the patterns' snippets whose path has `only`, and of their companions.

    With each stand the snippets that have to notice it: the file itself, or those that use it.
    The minibroker is no companion here: it has a page and tests of its own.
    """
    users: dict[Path, list[str]] = {}
    for snippet in all_snippets():
        path = name(snippet)
        if path.startswith("patterns/") and only in path:
            for file in {snippet, *companions(snippet)} - {MINIBROKER}:
                users.setdefault(file, []).append(path)
    return {one: users[file] for file in sorted(users) for one in mutants_of(file)}


def draw(candidates: Iterable[Mutant], seed: int, number: int) -> list[Mutant]:
    """Draw at random, so that what is drawn stays when something else is written or removed.

    Each mutant draws a lot of its own, from the seed and what is taken away; the lowest are drawn.
    """
    seen = Counter[str]()
    lots: dict[Mutant, float] = {}
    for one in candidates:
        lacking = f"{one.file}: {one.text} -> {one.instead}"
        lots[one] = random.Random(f"{seed}, {seen[lacking]}, {lacking}").random()
        seen[lacking] += 1
    return sorted(lots, key=lots.__getitem__)[:number]
