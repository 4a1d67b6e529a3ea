"""What the tests recorded in docs/data/: the claims of a topic and the versions it ran on."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLAIMS = "docs/data/claims.json"
VERSIONS = "docs/data/versions.json"


class EvidenceError(Exception):
    """The recorded evidence is missing or does not fit. The message says what to do."""


@dataclass(frozen=True)
class Verdict:
    """How one broker did: `line` is the text of its snippet that carries the claim.

    `with_help` says what the snippet adds where the broker lacks the pattern itself.
    """

    holds: bool
    says: str
    line: str | None
    with_help: str


@dataclass(frozen=True)
class Claim:
    """One claim about all brokers and the test behind it."""

    name: str
    text: str
    test: str
    verdicts: dict[str, Verdict]

    def test_line(self, root: Path) -> int:
        """Return the line at which the claim's test begins."""
        file = root / self.test
        if not file.is_file():
            raise EvidenceError(f"{CLAIMS} names {self.test}, and there is no such file")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == self.name:
                return node.lineno
        raise EvidenceError(
            f"{CLAIMS} names the test {self.name}, which {self.test} does not have: "
            "run `make record`"
        )


def _read(root: Path, name: str) -> dict[str, Any]:
    file = root / name
    if not file.is_file():
        raise EvidenceError(f"{name} is missing: `make record` writes it")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise EvidenceError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from None
    return dict(data)


def claims(root: Path) -> dict[str, list[Claim]]:
    """Return the claims of every topic."""
    try:
        return {
            topic: [
                Claim(
                    name=entry["id"],
                    text=entry["claim"],
                    test=entry["test"],
                    verdicts={
                        key: Verdict(
                            verdict["holds"], verdict["says"], verdict["line"], verdict["with_help"]
                        )
                        for key, verdict in entry["brokers"].items()
                    },
                )
                for entry in entries
            ]
            for topic, entries in _read(root, CLAIMS).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            f"{CLAIMS} does not have the expected form ({error!r}): run `make record`"
        ) from None


def versions(root: Path) -> dict[str, dict[str, str]]:
    """Return server and client by broker."""
    return _read(root, VERSIONS)
