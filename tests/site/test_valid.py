"""The HTML of every page, as the W3C's validator reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.brokers import debian
from tests.site.conftest import ROOT, Site

VALIDATOR = ROOT / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"


def test_the_validator_finds_no_error_on_any_page(built_site: Site, tmp_path: Path) -> None:
    if not VALIDATOR.is_file():
        pytest.fail(
            f"{VALIDATOR.relative_to(ROOT)} is missing: run `make test`, which installs it",
            pytrace=False,
        )
    # The servers' folder, which has Java, sees nothing of this machine but temporary files.
    jar = shutil.copy(VALIDATOR, tmp_path)
    pages = [str(page) for page in sorted(built_site.folder.rglob("*.html"))]
    options = ["-Xss8m", "-jar", str(jar), "--errors-only", "--format", "gnu"]
    own = shutil.which("java")
    command = [own, *options, *pages] if own else debian.command("java", *options, *pages)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = ran.stderr.replace(f"file:{built_site.folder}/", "").splitlines()
    assert not found, "\n".join(found[:40])
    assert ran.returncode == 0
