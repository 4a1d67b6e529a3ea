"""Run under a snippet, in the reader's browser: Pyodide and our worker, in a folder of the site.

Pyodide comes from npm. Where npm was not run, the site is built without Run.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import BuildError
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

from handbook.brokers import addressed_in
from handbook.directives.claims import anchor
from handbook.evidence import EvidenceError, claims
from handbook.snippet import FOLDER, Snippet
from handbook.snippet import imported as imports

HERE = Path(__file__).parent
PYODIDE = Path("node_modules") / "pyodide"
CACHE = Path(".cache") / "python"
#: Taken as they are. The standard library is made anew.
AS_THEY_ARE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm")
LIBRARY = "python_stdlib.zip"
LOCK = "pyodide-lock.json"
OURS = ("worker.js", "program.py", "../flow.py", "LICENCES.txt")
#: What a browser has no processes, threads and sockets for.
LACKING = {
    "asyncio.subprocess",
    "http.server",
    "multiprocessing",
    "socket",
    "subprocess",
    "threading",
}
#: Seconds of simulation here, and ten times as many in a browser.
TOO_SLOW = {"best_practices/capacity/waiting.py"}
#: By a claim's anchor: the line that carries it, what is put in its place, what its test then sees.
Changes = dict[str, dict[str, str]]
log = logging.getLogger("mkdocs.handbook.runner")


@dataclass(frozen=True)
class Runner:
    """`folder` is the site's folder with Python; `companions` says what each snippet imports.

    `changes` are what breaks the claims of a snippet. A server sends so many `megabytes`, packed;
    `counted` are the unpacked bytes of what is fetched with progress.
    """

    folder: str
    megabytes: float
    counted: int
    companions: dict[str, list[str]]
    changes: dict[str, Changes]

    def mark(self, html: str, url: str) -> str:
        """Return the page at `url`, on which each snippet that can run says so and how."""

        def marked(found: re.Match[str]) -> str:
            path = found[1]
            if path not in self.companions:
                return found[0]
            beside = escape(" ".join(self.companions[path]))
            broken = escape(" ".join(self.changes.get(path, {})))
            folder = escape(get_relative_url(self.folder, url))
            return (
                f'{found[0]} data-run="{beside}" data-python="{folder}" '
                f'data-megabytes="{self.megabytes:.1f}" data-counted="{self.counted}"'
                + (f' data-claims="{broken}"' if broken else "")
            )

        return re.sub(r'\bdata-snippet="([^"]+)"', marked, html)


def publish(files: Files, config: MkDocsConfig) -> Runner | None:
    """Put Python for the browser among the site's files; return None where npm has not been run."""
    root = Path(config.docs_dir).parent
    pyodide = root / PYODIDE
    if not (pyodide / LIBRARY).is_file():
        log.info("No snippet gets a Run button: Pyodide is not there (`npm ci` fetches it)")
        return None
    companions = runnable(root / FOLDER)
    named = set().union(*(imported(Snippet(root / FOLDER, path)) for path in companions))
    named |= imports((HERE.parent / "flow.py").read_text(encoding="utf-8"))
    library = _library(root, sorted(name for name in named if _is_standard(name)))
    parts = [*(pyodide / name for name in AS_THEY_ARE), library, *(HERE / name for name in OURS)]
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    folder = f"assets/python/{digest[:12]}/"
    for part in parts:
        name = LIBRARY if part == library else part.name
        files.append(File.generated(config, folder + name, abs_src_path=str(part)))
    files.append(File.generated(config, f"{folder}{LOCK}", content=_no_packages(pyodide)))
    counted = sum(part.stat().st_size for part in parts if part.suffix in {".wasm", ".zip"})
    changes = breaking(root)
    for path, each in changes.items():
        name = f"{FOLDER}/{path.removesuffix('.py')}.claims.json"
        files.append(File.generated(config, name, content=json.dumps(each, ensure_ascii=False)))
    return Runner(folder, _sent(parts) / 1e6, counted, companions, changes)


def runnable(snippets: Path) -> dict[str, list[str]]:
    """Return what a browser can run, and beside each snippet the modules that it needs."""
    found = {}
    for file in sorted(snippets.rglob("*.py")):
        shown = Snippet(snippets, file.relative_to(snippets).as_posix())
        if "/" not in shown.path or shown.path in TOO_SLOW or addressed_in(shown.whole_code):
            continue
        named = imported(shown) - {Path(each).stem for each in shown.companions}
        if not named & LACKING and all(map(_is_standard, named)):
            found[shown.path] = shown.companions
    return found


def imported(shown: Snippet) -> set[str]:
    """Return the modules that a snippet imports, and those that its companions do."""
    codes = [shown.code, *(Snippet(shown.folder, path).code for path in shown.companions)]
    return set[str]().union(*map(imports, codes))


def breaking(root: Path) -> dict[str, Changes]:
    """Return what breaks the claims of each snippet of the minibroker, by the claims' anchors."""
    try:
        recorded = claims(root)
    except EvidenceError:  # the pages that need it say so
        return {}
    found: dict[str, Changes] = {}
    for topic, entries in recorded.items():
        for claim in entries:
            proof = claim.verdicts.get("minibroker")
            if proof and proof.line:
                change = {"line": proof.line, "instead": proof.instead or "", "seen": proof.seen}
                found.setdefault(f"{topic}/on_minibroker.py", {})[anchor(claim)] = change
    return found


def _is_standard(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names


def _library(root: Path, modules: list[str]) -> Path:
    """Return the standard library for the browser, made where it is not in the cache."""
    maker = HERE / "standard_library.mjs"
    asked = hashlib.sha256("\n".join(modules).encode())
    for part in (root / PYODIDE / LIBRARY, root / PYODIDE / "pyodide.asm.wasm", maker):
        asked.update(part.read_bytes())
    made = root / CACHE / f"{asked.hexdigest()[:16]}.zip"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        unfinished = made.with_suffix(f".{os.getpid()}")
        command = ["node", str(maker), str(root / PYODIDE), str(unfinished), *modules]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        except FileNotFoundError:
            raise BuildError(
                f"{PYODIDE} is there, and `node` is not: install Node.js 20 or newer, or remove "
                f"{PYODIDE.parent} to build the site without Run"
            ) from None
        except subprocess.CalledProcessError as error:
            raise BuildError(f"{maker.relative_to(root)} failed:\n{error.stderr}") from None
        unfinished.replace(made)
    return made


def _no_packages(pyodide: Path) -> str:
    """Return Pyodide's list of packages without the packages: they lie on other sites."""
    lock = json.loads((pyodide / LOCK).read_text(encoding="utf-8"))
    return json.dumps({"info": lock["info"], "packages": {}})


def _sent(parts: list[Path]) -> int:
    """Return how many bytes a server sends of these files: compressed, but for the zip."""
    return sum(_packed(part, part.stat().st_mtime_ns) for part in parts)


@cache
def _packed(part: Path, _changed: int) -> int:
    content = part.read_bytes()
    return len(content if part.suffix == ".zip" else gzip.compress(content, compresslevel=6))
