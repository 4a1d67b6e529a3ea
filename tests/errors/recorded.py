"""The file of a broker's errors, docs/data/errors/<broker>.json: one test after the other.

It has, for each error, each text, whose it is, and by generation of servers the versions that it
came from. A run writes its own generation and its own errors, and leaves the others as they are.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handbook.errors import FOLDER

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Text:
    """What was said and by which client; `versions` are those of client and server."""

    text: str
    client: str
    versions: dict[str, str]


class Recorded:
    """What is known of the errors of one file of tests, in one generation."""

    def __init__(self, tests: Path, generation: str, root: Path = ROOT) -> None:
        self.tests = tests
        self.generation = generation
        self.file = root / FOLDER / f"{tests.stem.removeprefix('test_')}.json"

    def texts(self, key: str) -> list[Text]:
        """Return what an error says on this generation, as it was recorded."""
        return [
            Text(said["text"], said["client"], said["seen"][self.generation])
            for said in self._read().get(key, [])
            if self.generation in said["seen"]
        ]

    def write(self, key: str, texts: list[Text]) -> None:
        """Record what this run saw of an error. What has no test any more leaves the file."""
        with self._alone():
            content = self._read()
            entry = content.get(key, [])
            for said in entry:
                said["seen"].pop(self.generation, None)
            for text in texts:
                same = [s for s in entry if (s["text"], s["client"]) == (text.text, text.client)]
                if not same:
                    same = [{"text": text.text, "client": text.client, "seen": {}}]
                    entry += same
                same[0]["seen"] = dict(
                    sorted({**same[0]["seen"], self.generation: text.versions}.items())
                )
            content[key] = [said for said in entry if said["seen"]]
            known = {name: content[name] for name in keys(self.tests) if content.get(name)}
            self.file.parent.mkdir(parents=True, exist_ok=True)
            new = self.file.with_suffix(".new")
            new.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            new.replace(self.file)

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        content: dict[str, list[dict[str, Any]]] = {}
        if self.file.exists():
            content = json.loads(self.file.read_text(encoding="utf-8"))
        return content

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process of a parallel run writes."""
        with self.tests.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def keys(tests: Path) -> list[str]:
    """Return the keys of a file's tests, from the first to the last."""
    names = re.findall(r"^def (test_\w+)\(", tests.read_text(encoding="utf-8"), re.MULTILINE)
    return [key_of(name) for name in names]


def key_of(test: str) -> str:
    """Return the key of an error, without its broker, from the name of its test."""
    return test.removeprefix("test_").replace("_", "-")
