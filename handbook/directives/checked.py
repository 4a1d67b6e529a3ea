"""`::: checked`: what stands behind the pages, counted from files and from what runs recorded.

`::: checked files` lists what programs read, which the build writes; `::: checked servers` the
servers of both generations, and the clients.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handbook import atlas, errors
from handbook.brokers import BROKERS
from handbook.directives.project import Project, git
from handbook.evidence import CLAIMS, SURVIVAL, EvidenceError, claims, survival, versions
from handbook.snippet import FOLDER

MUTANTS = "docs/data/mutants.json"
SINGLE = f"{atlas.FOLDER}/single.json"
#: What the data is that docs/data/schema/ has a form for.
DATA = {
    "atlas/patterns": "what each pattern's snippet kept when a leader was killed",
    "atlas/single": "what one server of each broker did when it was asked",
    "claims": "the claims, and for each broker the line that carries it",
    "errors": "texts of errors, each provoked by a test, with the address that explains it",
    "survival": "what each function made of each fault",
    "terms": "the glossary",
    "versions": "servers of both generations, and clients, of the last run",
}
_PYTHON = re.compile(r"^ *```+ ?\{?\.?python\b", re.M)


def table(project: Project, argument: str) -> str:
    """Return a table: what is checked, how much of it there is, and when it was recorded."""
    if argument == "files":
        return _files()
    if argument == "servers":
        return _servers(project)
    if argument:
        raise EvidenceError(
            f"`::: checked` takes nothing, `files` or `servers`, and not {argument!r}"
        )
    rows = [
        *_code(project.root),
        *_claims(project.root),
        *_survival(project.root),
        *_atlas(project.root),
        *_errors(project.root),
        *_mutants(project.root),
    ]
    lines = ["| What | How much | Recorded |", "|---|---|---|"]
    lines += [f"| {what} | {count} | {_day(project.root, file)} |" for what, count, file in rows]
    lines += ["", _servers(project)]
    if built := _git(project.root, "%h", "%cs"):
        commit, day = built
        address = f"{project.repo_url.rstrip('/')}/commit/{commit}"
        lines += ["", f"This site was built of commit [`{commit}`]({address}) of {day}."]
    return "\n".join(lines)


def _servers(project: Project) -> str:
    rows = ["| Newest server | Stable server | Client |", "|---|---|---|"]
    ran = versions(project.root)
    rows += [
        f"| {ran[broker.key]['server']} | {ran[broker.key].get('stable', '-')} |"
        f" {ran[broker.key]['client']} |"
        for broker in BROKERS
        if broker.key in ran
    ]
    return "\n".join(rows)


def _files() -> str:
    rows = [
        "| File | What it is |",
        "|---|---|",
        "| [llms.txt](llms.txt) | each page with its description and the address of its Markdown |",
        "| [llms-full.txt](llms-full.txt) | the Markdown of all pages, with snippets and tables |",
        "| `index.md` beside each page | its Markdown, which the button beside its title copies |",
    ]
    rows += [
        f"| [data/{name}.json](data/{name}.json) | {what} ([schema](data/schema/{name}.json)) |"
        for name, what in DATA.items()
    ]
    return "\n".join(rows)


Row = tuple[str, str, str]


def _code(root: Path) -> Iterator[Row]:
    snippets = [
        file for file in (root / FOLDER).rglob("*.py") if file.with_suffix(".out").is_file()
    ]
    inline = sum(
        len(_PYTHON.findall(file.read_text(encoding="utf-8")))
        for file in (root / "docs").rglob("*.md")
    )
    labs = len(list((root / "docs" / "labs").glob("*.py")))
    yield "Snippets that ran, their output compared byte for byte", str(len(snippets)), FOLDER
    yield "Short blocks on pages that ran, what they print compared", str(inline), "docs"
    yield "Labs that ran while the site was built", str(labs), "docs/labs"


def _claims(root: Path) -> Iterator[Row]:
    recorded = [claim for each in claims(root).values() for claim in each]
    verdicts = [verdict for claim in recorded for verdict in claim.verdicts.values()]
    yield "Claims about patterns", str(len(recorded)), CLAIMS
    yield "Tests of them, one for each broker", str(len(verdicts)), CLAIMS
    yield (
        "of these: the broker does something else, and the test asserts what",
        str(sum(not verdict.holds for verdict in verdicts)),
        CLAIMS,
    )
    yield (
        "Tests that failed as the page says when a line of the snippet was changed",
        str(sum(verdict.instead is not None for verdict in verdicts)),
        CLAIMS,
    )


def _survival(root: Path) -> Iterator[Row]:
    functions = survival(root).functions
    seen = Counter(outcome.verdict for one in functions for outcome in one.outcomes.values())
    if functions:
        said = ", ".join(f"{verdict}: {count}" for verdict, count in seen.most_common())
        yield "Functions that run for long", str(len(functions)), SURVIVAL
        yield "Faults that they went through", f"{seen.total()} ({said})", SURVIVAL


def _atlas(root: Path) -> Iterator[Row]:
    """Return how many clusters were hurt, and how many lost: nothing before the first."""
    cells = [cell for one in atlas.asked(root) for cell in one.cells.values()]
    if runs := sum(len(cell.runs) for cell in cells):
        lose = sum(cell.loses for cell in cells)
        yield "Runs of clusters of three, their histories checked", str(runs), atlas.FOLDER
        yield (
            "Cells of the atlas in which confirmed messages were lost",
            f"{lose} of {len(cells)}",
            atlas.FOLDER,
        )
    single = root / atlas.FOLDER / "single.json"
    if single.is_file():
        trials = str(len(atlas.read(single)["trials"]))
        yield (
            "Answers of one server, each asserted by a test",
            trials,
            f"{atlas.FOLDER}/single.json",
        )


def _errors(root: Path) -> Iterator[Row]:
    """Return how many errors were provoked: nothing before the first."""
    if provoked := len(errors.recorded(root)):
        yield "Errors that a test provoked, their texts compared", str(provoked), errors.FOLDER


def _mutants(root: Path) -> Iterator[Row]:
    file = root / MUTANTS
    scores: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for seed, score in scores.items():
        explained = len(score["explained"])
        noticed = f"{score['noticed']} of {score['drawn']}"
        if explained:
            noticed += f", and {explained} with a reason that is listed"
        if left := score["drawn"] - score["noticed"] - explained:
            noticed += f"; {left} with none yet"
        yield f"Lines taken away at random (seed {seed}) that a test noticed", noticed, MUTANTS


def _day(root: Path, path: str) -> str:
    found = _git(root, "%cs", "%h", path)
    return found[0] if found else "with this build"


def _git(root: Path, first: str, second: str, *paths: str) -> tuple[str, str] | None:
    """Return two facts of the last commit of these files, if git knows."""
    said = git(root, "log", "-1", f"--format={first} {second}", "--", *paths)
    one, _, two = said.strip().partition(" ")
    return (one, two) if two else None
