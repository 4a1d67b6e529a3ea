"""The example of a new pattern in CONTRIBUTING.md: it runs, and its claim fits it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patterns.stage import Stage
from tests.snippets.running import MINIBROKER, ROOT

SECTION = (ROOT / "CONTRIBUTING.md").read_text().split("## Add a pattern")[1]
SNIPPET, TEST, *_ = re.findall(r"^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def written(folder: Path, lacking: bool) -> Path:
    """Write the example's snippet, as it is or without the line that carries its claim."""
    code = SNIPPET
    if lacking:
        line, instead = re.findall(r"holds\('(.*?)', '(.*?)'\)", TEST)[0]
        assert code.count(line) == 1
        code = code.replace(line, instead)
    (folder / MINIBROKER.name).write_text(MINIBROKER.read_text())
    snippet = folder / "on_minibroker.py"
    snippet.write_text(code)
    return snippet


def test_the_example_runs(tmp_path: Path) -> None:
    command = [sys.executable, written(tmp_path, lacking=False).name]
    printed = subprocess.check_output(command, cwd=tmp_path, text=True)
    assert printed == "worker: cat.mp4\ntap: cat.mp4\n"


@pytest.mark.parametrize("lacking", [False, True])
def test_its_claim_holds_and_can_fail(tmp_path: Path, lacking: bool) -> None:
    its: dict[str, object] = {"__name__": "tests.patterns.test_wire_tap"}
    body = TEST.replace("@claim(", "@ignored(").replace(
        "CAT =", "def ignored(*_, **__):\n    return lambda test: test\n\n\nCAT =", 1
    )
    exec(compile(body, "CONTRIBUTING.md", "exec"), its)
    test = its["test_the_tap_gets_a_copy"]
    assert callable(test)
    with Stage(
        "minibroker", written(tmp_path, lacking), None, to_see=2 if lacking else None
    ) as stage:
        if lacking:
            with pytest.raises(AssertionError, match=str(its["DEAF"])):
                test(stage)
        else:
            test(stage)
