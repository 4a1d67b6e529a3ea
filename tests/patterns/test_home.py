"""What a test's process imports of a snippet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.patterns.home import SNIPPETS, load
from tests.snippets.running import download


def test_a_changed_copy_is_not_what_the_next_test_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the modules that are imported already, nor by the folders that are looked into."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    original = SNIPPETS / "patterns" / "work_queue" / "on_nats.py"
    copy = download(original, tmp_path)
    changed = tmp_path / "nats_client.py"
    changed.write_text(changed.read_text() + "\nCHANGED = True\n")
    load(copy)
    assert hasattr(sys.modules["nats_client"], "CHANGED")
    load(original)
    assert not hasattr(sys.modules["nats_client"], "CHANGED")
    load(copy)
    assert hasattr(sys.modules["nats_client"], "CHANGED")
    load(original)
