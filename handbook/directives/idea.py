"""`::: idea <topic>`: an obvious version that fails, what it prints, and the version that works."""

from __future__ import annotations

import ast
from difflib import SequenceMatcher

from handbook.directives.code import download, fence
from handbook.directives.project import Project
from handbook.snippet import FOLDER, Snippet, SnippetError, snippet

FAILS, WORKS = "idea_fails.py", "idea.py"


def expand(project: Project, name: str) -> str:
    """Return both files with what they print; the lines in which they differ are marked."""
    fails, works = (snippet(project.snippets, f"{name}/{file}") for file in (FAILS, WORKS))
    gone, new = changes(fails, works)
    if not new:
        raise SnippetError(f"{FOLDER}/{name}/{WORKS} has no line that {FAILS} does not have")
    return "\n".join(
        [
            *_shown(project, fails, gone, "The obvious version", ".fails"),
            *_shown(project, works, new, "The version that works", ".works"),
        ]
    )


def changes(old: Snippet, new: Snippet) -> tuple[list[int], list[int]]:
    """Return the numbers of the lines that only the old, and that only the new file has.

    The docstrings differ always, so they do not count.
    """
    before, after = (_without_docstring(each.code) for each in (old, new))
    gone: list[int] = []
    added: list[int] = []
    steps = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for kind, start, end, new_start, new_end in steps:
        if kind != "equal":
            gone += [at + 1 for at in range(start, end) if before[at].strip()]
            added += [at + 1 for at in range(new_start, new_end) if after[at].strip()]
    return gone, added


def _without_docstring(code: str) -> list[str]:
    lines = code.splitlines()
    first = ast.parse(code).body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        for number in range(first.lineno, (first.end_lineno or first.lineno) + 1):
            lines[number - 1] = ""
    return lines


def _shown(project: Project, shown: Snippet, marked: list[int], title: str, kind: str) -> list[str]:
    lines = f' hl_lines="{" ".join(map(str, marked))}"' if marked else ""
    head = f'.python .snippet .idea {kind} title="{title}: {shown.name}"{lines}'
    return [
        *fence(shown.code, f'{head} data-snippet="{shown.path}"'),
        "",
        *fence(shown.output, f'.text .output .no-copy {kind} data-output="{shown.path}"'),
        "",
        f"<span>{download(project, shown)}</span>",
        "{ .snippet-facts }",
        "",
    ]
