"""What a browser keeps when its reader asks for the handbook without a network: all but the copies.

A hook of MkDocs, because only MkDocs knows when the site is complete. `offline.json` names each
file with a digest, so that a browser fetches only what has changed; `offline.js` lies at the top of
the site, because a service worker serves nothing above itself.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority

WORKER, LIST = "offline.js", "offline.json"
#: Downloads, and what programs read. The search needs its words.
LEFT_OUT = {".epub", ".gz", ".ipynb", ".md", ".pdf", ".txt"}
WORDS = "pagefind/words.txt"
_serving = False


def on_startup(command: str, **_: Any) -> None:
    """Remember whether the site is served: what changes with each edit is not for keeping."""
    global _serving
    _serving = command == "serve"


def on_config(config: MkDocsConfig, **_: Any) -> None:
    """Have the pages offer it."""
    config.extra["offline"] = not _serving


@event_priority(-200)
def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Write both files, when all others are there."""
    if not _serving:
        write(Path(config.site_dir))


def write(site: Path) -> None:
    """Write the list of the site's files, and the worker that keeps them."""
    digests, size = {}, 0
    for file in sorted(site.rglob("*")):
        name = file.relative_to(site).as_posix()
        if file.is_file() and (file.suffix not in LEFT_OUT or name == WORDS):
            content = file.read_bytes()
            size += len(content)
            digests[name.removesuffix("index.html")] = hashlib.sha256(content).hexdigest()[:12]
    text = json.dumps({"bytes": size, "files": digests}, indent=0)
    (site / LIST).write_text(text, encoding="utf-8")
    worker = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    (site / WORKER).write_text(worker.replace("<version>", version), encoding="utf-8")
