"""Check the types of every snippet by itself: `python -m tests.snippets.types`.

Each is a program of its own, so two may share a name: its folder tells mypy which of them it is.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.snippets.running import ROOT, SNIPPETS, all_snippets

#: Of its own: mypy looks at the handbook's own code at the same time.
CACHE = ".mypy_cache/snippets"


def main() -> None:
    """Run mypy on all of them at once; end with an error where one is wrong."""
    options = ["--strict", "--explicit-package-bases", "--cache-dir", CACHE]
    command = [sys.executable, "-m", "mypy", *options, *map(str, all_snippets())]
    environment = {**os.environ, "MYPYPATH": str(SNIPPETS)}
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
