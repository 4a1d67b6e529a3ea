"""What the trials of mutants showed: what a run that was interrupted knows, and the score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.mutants.candidates import Mutant
from tests.snippets.running import ROOT, SNIPPETS, keep

NOTES = ROOT / ".cache" / "mutants"
RECORD = ROOT / "docs" / "data" / "mutants.json"


class Notes:
    """Which test noticed which mutant, one file for each file of snippets/.

    What is noted of a file is of no use when its text has changed. Only what was noticed is
    noted, so that survivors are tried again.
    """

    def __init__(self, folder: Path = NOTES) -> None:
        self._folder = folder

    def of(self, mutant: Mutant) -> str | None:
        """Return the test that noticed the mutant in an earlier run."""
        return self._read(mutant).get(self._key(mutant))

    def keep(self, mutant: Mutant, test: str) -> None:
        """Note it at once: the run may be interrupted."""
        self._folder.mkdir(parents=True, exist_ok=True)
        known = self._read(mutant) | {self._key(mutant): test}
        keep(self._file(mutant), json.dumps({"text": self._text(mutant), "noticed": known}))

    def _read(self, mutant: Mutant) -> dict[str, str]:
        file = self._file(mutant)
        noted = json.loads(file.read_text()) if file.exists() else {}
        known: dict[str, str] = noted.get("noticed", {})
        return known if noted.get("text") == self._text(mutant) else {}

    def _file(self, mutant: Mutant) -> Path:
        return self._folder / f"{mutant.file.replace('/', '.')}.json"

    @staticmethod
    def _key(mutant: Mutant) -> str:
        return json.dumps(asdict(mutant))

    @staticmethod
    def _text(mutant: Mutant) -> str:
        return (SNIPPETS / mutant.file).read_text()


def record(seed: int, of: int, verdicts: Mapping[str, Sequence[str]], file: Path = RECORD) -> None:
    """Write the score of one seed, with the day, and what nothing noticed; others stay."""
    scores = json.loads(file.read_text()) if file.exists() else {}
    scores[str(seed)] = {
        "date": datetime.now(UTC).date().isoformat(),
        "drawn": sum(len(those) for those in verdicts.values()),
        "of": of,
        "noticed": len(verdicts["noticed"]),
        "explained": sorted(verdicts["explained"]),
        "survived": sorted(verdicts["SURVIVED"]),
        "not_tried": sorted(verdicts["not tried"]),
    }
    ordered = {key: scores[key] for key in sorted(scores, key=int)}
    keep(file, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
