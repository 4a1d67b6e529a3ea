"""What Zensical, which follows Material, makes of the same files, after `make site`.

`python -m tests.site.zensical site` builds the last commit with it, in a folder of its own, and
lists the pages and the features that differ. It is no test: a workflow runs it once a week, and
nobody has to wait for it.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from selectolax.lexbor import LexborHTMLParser
from uv import find_uv_bin

from tests.site.conftest import ROOT

#: The newest of which all that it needs can be had.
VERSION = "0.0.73"
FEATURES = {
    "highlighted code": ".highlight",
    "code that is a snippet's": ".snippet",
    "tabs": ".tabbed-set",
    "claims": ".experiment",
    "matrices": ".claims-table",
    "diagrams": "figure.diagram svg",
    "terms": "a.term",
    "footnotes": ".footnote",
    "parts for one broker": "[data-for]",
    "rows with a name": "tr[id]",
    "Run buttons": "[data-run]",
    "content security policy": "meta[http-equiv=Content-Security-Policy]",
    "Markdown twin": "link[rel=alternate][type='text/markdown']",
}


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the last commit with Zensical below the folder."""
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tree:
        tree.extractall(folder, filter="data")
    tools = ["--with-requirements", "requirements.txt", "--with", f"zensical=={VERSION}"]
    return subprocess.run(
        [find_uv_bin(), "run", "--no-project", *tools, "python", "-m", "zensical", "build"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
        check=False,
    )


def pages(site: Path) -> dict[str, LexborHTMLParser]:
    """Return the built pages by their addresses."""
    return {
        f"/{file.parent.relative_to(site).as_posix()}/": LexborHTMLParser(file.read_text())
        for file in sorted(site.rglob("index.html"))
    }


def differences(ours: Path, theirs: Path) -> list[str]:
    """Return a line for each page that one of the two lacks, and for each feature that differs."""
    mkdocs, zensical = pages(ours), pages(theirs)
    found = [f"page only here:   {path}" for path in mkdocs if path not in zensical]
    found += [f"page only there:  {path}" for path in zensical if path not in mkdocs]
    both = [path for path in mkdocs if path in zensical]
    for feature, selector in FEATURES.items():
        counts = {
            path: (len(mkdocs[path].css(selector)), len(zensical[path].css(selector)))
            for path in both
        }
        differ = {path: each for path, each in counts.items() if each[0] != each[1]}
        if differ:
            here, there = (sum(each[side] for each in counts.values()) for side in (0, 1))
            path, (one, other) = max(differ.items(), key=lambda each: abs(each[1][0] - each[1][1]))
            found.append(
                f"{feature}: {here} here, {there} there; {len(differ)} of {len(both)} pages "
                f"differ, most of all {path} with {one} and {other}"
            )
    return found


def main(site: Path) -> None:
    """Build, compare, and say what differs; end with 1 if the build stopped."""
    with TemporaryDirectory() as name:
        built = build(Path(name))
        if built.returncode:
            sys.exit(f"Zensical {VERSION} stopped:\n{built.stdout[-3000:]}")
        found = differences(site, Path(name) / "site")
    print("\n".join(found) or "nothing differs")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
