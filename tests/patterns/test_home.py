"""What a test's process imports of a snippet."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.patterns.home import SNIPPETS, companions_as_found, load
from tests.snippets.running import download


def test_a_changed_copy_is_not_what_the_next_test_gets(tmp_path: Path) -> None:
    """Neither by the modules that are imported already, nor by the folders that are looked into."""
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


def test_what_was_imported_before_is_there_again(tmp_path: Path) -> None:
    """Else who gave that module a server's address would not reach what another test loads."""
    original = SNIPPETS / "patterns" / "work_queue" / "on_nats.py"
    copy = download(original, tmp_path)
    before = [*sys.path]
    with companions_as_found():
        load(original)
        held = sys.modules["nats_client"]
        with companions_as_found():
            load(copy)
            load(original)
            assert sys.modules["nats_client"] is not held
        assert sys.modules["nats_client"] is held
    assert sys.path == before
