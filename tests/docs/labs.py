"""The labs as text, for the tests of what stands on pages."""

from __future__ import annotations

from pathlib import Path

import jupytext

from tests.records import ROOT

LABS = sorted((ROOT / "docs" / "labs").glob("*.py"))


def prose(lab: Path) -> str:
    """Return what the lab says, without what it runs."""
    cells = jupytext.read(lab).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
