"""What the survival suite found, for docs/data/survival.json: which function lives through what.

`--update` writes the file, once, of all that the run tried; every other run compares. Only a good
verdict is recorded. A function that goes on or ends as its timing has it is no mistake: a verdict
that differs is a notice.
"""

from __future__ import annotations

import ast
import json
import math
import re
from pathlib import Path
from typing import Any

from handbook.brokers import BROKERS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "data" / "survival.json"
SNIPPETS = ROOT / "snippets"
#: Characters of an exception's text that a page can show.
LONGEST = 160
#: What differs from run to run: addresses of objects, ports, names of a subject's place, folders.
_CHANGING = (
    (re.compile(r"(?<=_inbox\.)\w+", re.IGNORECASE), "…"),
    (re.compile(r"\b0x[0-9a-f]+\b"), "0x…"),
    (re.compile(r"\b(127\.0\.0\.\d|localhost|::1)([:,' ]+(?:port )?)\d{4,5}\b"), r"\1\2…"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "…"),
    (re.compile(r"\b[0-9a-f]{16,}\b"), "…"),
    (re.compile(r"\bs\d+\.(?=[a-z])"), ""),
    (re.compile(r"\bs\d+(?=['\"/ ]|$)"), "…"),
    (re.compile(r"/tmp/[^\s'\"]+/"), ""),
    (re.compile(r"\b\d{10,}(?:-\d+)?\b"), "…"),
    (re.compile(r"\b[a-z-]+-\d+(?:-\d+)+\.mp4"), "….mp4"),
    (re.compile(r"\bpid \d+"), "pid …"),
    (re.compile(r"\bsent-[0-9a-f]{6}-\d+"), "…"),
)


def shortened(text: str) -> str:
    """Return an exception's first line, or all on one, without what differs from run to run."""
    first, *more = text.strip().splitlines() or [""]
    text = " ".join((first if not first.endswith(":") else " ".join([first, *more])).split())
    for pattern, instead in _CHANGING:
        text = pattern.sub(instead, text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def rounded(seconds: float) -> int:
    """Return whole seconds, up to the next ten: less would differ in each run."""
    return max(10, math.ceil(seconds / 10) * 10)


class Survival:
    """The verdicts of one run, from the reports of its tests, and what becomes of the record."""

    def __init__(self, *, update: bool, file: Path = FILE, snippets: Path = SNIPPETS) -> None:
        self.update = update
        self.file = file
        self.snippets = snippets
        self.noted: list[dict[str, Any]] = []

    def note(self, properties: dict[str, object]) -> None:
        """Take in one report: what a fault did to a broker's functions."""
        said = properties.get("survival")
        if isinstance(said, dict):
            self.noted.append(said)

    def settle(self) -> tuple[list[str], list[str]]:
        """Write the file or compare with it; return what is wrong, and what is only to know."""
        if not self.noted:
            return [], []
        before: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        if self.update:
            self._write(self.merged(before))
            return [], []
        return self._missing(before), self._different(before)

    def merged(self, before: dict[str, Any]) -> dict[str, Any]:
        """Return the record with what this run found in it, and without what is gone."""
        functions: dict[str, Any] = {
            name: {"kind": entry["kind"], "faults": dict(entry["faults"])}
            for name, entry in before.get("functions", {}).items()
        }
        servers, faults = dict(before.get("servers", {})), dict(before.get("faults", {}))
        for said in self.noted:
            faults = dict(said["faults"])
            if said["server"]:  # nobody began, where a fault concerns none of its functions
                servers[said["broker"]] = said["server"]
            for name, entry in functions.items():
                if _key(name) == said["broker"] and name not in said["concerned"]:
                    entry["faults"].pop(said["fault"], None)
            for name, found in said["verdicts"].items():
                entry = functions.setdefault(name, {"kind": found["kind"], "faults": {}})
                entry["kind"] = found["kind"]
                entry["faults"].pop(said["fault"], None)
                if found["good"]:
                    entry["faults"][said["fault"]] = {
                        each: found[each] for each in ("verdict", "text", "seconds")
                    }
        for entry in functions.values():
            entry["faults"] = {
                fault: entry["faults"][fault] for fault in faults if fault in entry["faults"]
            }
        kept = {name for name, entry in functions.items() if entry["faults"]}
        there = [name for name in kept if self._place(name)]
        return {
            "servers": {one.key: servers[one.key] for one in BROKERS if one.key in servers},
            "faults": faults,
            "functions": {
                name: functions[name] for name in sorted(there, key=lambda name: self._place(name))
            },
        }

    def _place(self, name: str) -> tuple[str, int] | tuple[()]:
        """Return where a function stands; nothing if it is gone."""
        path, _, function = name.partition(" ")
        return next(
            (
                (path, line)
                for each, line in _lines(self.snippets / f"{path}.py")
                if each == function
            ),
            (),
        )

    def _good(self) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
        return [
            (said, name, found)
            for said in self.noted
            for name, found in said["verdicts"].items()
            if found["good"]
        ]

    def _missing(self, before: dict[str, Any]) -> list[str]:
        functions = before.get("functions", {})
        missing: dict[str, list[str]] = {}
        for said, name, _ in self._good():
            if said["fault"] not in functions.get(name, {"faults": {}})["faults"]:
                missing.setdefault(name, []).append(said["fault"])
        return [
            f"docs/data/survival.json does not say what {name} does in: {', '.join(faults)};"
            " run `make record`, and read the difference before you commit it"
            for name, faults in missing.items()
        ]

    def _different(self, before: dict[str, Any]) -> list[str]:
        notices = []
        for said, name, found in self._good():
            entry = before.get("functions", {}).get(name, {"faults": {}})
            recorded = entry["faults"].get(said["fault"])
            if recorded and recorded["verdict"] != found["verdict"]:
                notices.append(
                    f"{name}, {said['fault']}: recorded {recorded['verdict']!r},"
                    f" this run saw {found['verdict']!r}"
                )
        return notices

    def _write(self, content: dict[str, Any]) -> None:
        self.file.parent.mkdir(exist_ok=True)
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        new.replace(self.file)


def _key(name: str) -> str:
    return name.partition(" ")[0].rpartition("/on_")[2]


def _lines(snippet: Path) -> list[tuple[str, int]]:
    """Return the functions and methods of a snippet, with their lines; nothing if it is gone."""
    if not snippet.is_file():
        return []
    found: list[tuple[str, int]] = []
    for node in ast.parse(snippet.read_text()).body:
        if isinstance(node, ast.AsyncFunctionDef):
            found.append((node.name, node.lineno))
        elif isinstance(node, ast.ClassDef):
            found += [
                (f"{node.name}.{each.name}", each.lineno)
                for each in node.body
                if isinstance(each, ast.AsyncFunctionDef)
            ]
    return found
