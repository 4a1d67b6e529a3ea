"""Check the types of every snippet by itself: `python -m tests.snippets.types`.

Each is a program of its own, so two may share a name; mypy looks at one folder at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.snippets.running import ROOT, SNIPPETS, all_snippets

#: Of its own: mypy looks at the handbook's own code at the same time.
CACHE = ".mypy_cache/snippets"


def main() -> None:
    """Run mypy on each folder of snippets; end with an error where one is wrong."""
    environment = {**os.environ, "MYPYPATH": str(SNIPPETS)}
    failed = False
    for folder in sorted({path.parent for path in all_snippets()}):
        files = sorted(str(path) for path in folder.glob("*.py"))
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", CACHE, *files]
        failed |= bool(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)
    sys.exit(failed)


if __name__ == "__main__":
    main()
