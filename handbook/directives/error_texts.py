"""`::: error redis/crossslot`: the text that a test provoked, and whose it is.

`::: errors` is the table of all entries, with links.
"""

from __future__ import annotations

import re

from handbook import errors, page
from handbook.directives.code import fence
from handbook.directives.project import Project


def text(project: Project, argument: str) -> str:
    """Return a block for each text, and the link to the test."""
    texts, line = errors.said(project.root, argument)
    path, name = errors.test_of(argument)
    blocks: list[str] = []
    for each in texts:
        blocks += [*fence(each.text, f'.text .error title="{each.where}"'), ""]
    link = f"[`{name}`]({project.source(path, line)})"
    return "\n".join([*blocks, f"<span>Provoked by {link}</span>", "{ .snippet-facts }"])


def table(project: Project, _argument: str) -> str:
    """Return a row for each entry: the broker, its text, and who says it."""
    texts = errors.recorded(project.root)
    rows: dict[tuple[str, str], list[str]] = {}
    for entry in errors.entries(project.root):
        heading = re.sub(r"\|", r"\\|", entry.heading)
        link = f"[{heading}]({_relative(entry.page)}#{entry.anchor})"
        clients = [each.client for each in texts.get(entry.key, [])]
        rows.setdefault((entry.label, link), []).extend(clients)
    return "\n".join(
        [
            "| Broker | Error | Who says it |",
            "|---|---|---|",
            *(
                f"| {label} | {link} | {', '.join(map(_who, dict.fromkeys(clients)))} |"
                for (label, link), clients in rows.items()
            ),
        ]
    )


def _relative(path: str) -> str:
    """Return the link from a page beside it."""
    folder, _, name = path.rpartition("/")
    return name if page.current.path.startswith(f"{folder}/") else path


def _who(client: str) -> str:
    return "the server's log" if client == errors.LOG else client
