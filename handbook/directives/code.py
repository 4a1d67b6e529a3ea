"""`::: code <topic>` and `::: file <path> [section]`: snippets to copy, and their output."""

from __future__ import annotations

import re

from handbook.brokers import BROKERS, Broker, addressed_in
from handbook.directives import survival
from handbook.directives.project import Project
from handbook.evidence import VERSIONS, EvidenceError, claims, versions
from handbook.snippet import FOLDER, Snippet, SnippetError, snippet, topics


def topic(project: Project, name: str) -> str:
    """Return one tab a broker that has a snippet in the folder."""
    tabs: list[str] = []
    for broker in BROKERS:
        path = f"{name}/{broker.file_name}"
        if name and (project.snippets / path).is_file():
            shown = snippet(project.snippets, path)
            body = _whole(project, shown, _carrying_lines(project, name, broker, shown), broker)
            tabs += [f'=== "{broker.label}"', "", *(f"    {line}" for line in body), ""]
    if not tabs:
        raise SnippetError(
            f"{FOLDER}/{name} holds no snippet of a broker (on_<broker>.py); topics are: "
            + ", ".join(topics(project.snippets))
        )
    return "\n".join(tabs)


def file(project: Project, argument: str) -> str:
    """Return one snippet whole, or one function or class of it without its output."""
    path, _, section = argument.partition(" ")
    shown = snippet(project.snippets, path)
    if section:
        code = shown.section(section.strip())
        title = f"{path} · {section.strip()}"
        return "\n".join(
            [
                *fence(code, f'.python title="{title}"'),
                "",
                *_facts(project, shown, None, section.strip()),
            ]
        )
    return "\n".join(_whole(project, shown, [], None))


def _whole(project: Project, shown: Snippet, marked: list[int], broker: Broker | None) -> list[str]:
    if "/" not in shown.path:  # a module that several snippets share runs with them
        head = f'.python .snippet title="{shown.path}" linenums="1" data-snippet="{shown.path}"'
        return [*fence(shown.code, head), "", *_facts(project, shown)]
    lines = f' hl_lines="{" ".join(map(str, marked))}"' if marked else ""
    head = f'.python .snippet title="{shown.path}" linenums="1"{lines} data-snippet="{shown.path}"'
    printed = f'.text .output .no-copy title="Output" data-output="{shown.path}"'
    return [
        *fence(shown.code, head),
        "",
        *fence(shown.command(project.site_url), '.text .command linenums="1"'),
        "",
        *fence(shown.output, printed),
        "",
        *_facts(project, shown, broker),
    ]


def _facts(
    project: Project, shown: Snippet, broker: Broker | None = None, section: str = ""
) -> list[str]:
    link = project.published(shown.path)
    facts = [f'[Download {shown.download_name}]({link}){{ download="{shown.download_name}" }}']
    if broker:
        facts += _needs(project, broker)
        for other in addressed_in(shown.whole_code):
            if other != broker:
                facts += _needs(project, other)
    facts += survival.facts(project, shown.path, section)
    return [*(f"<span>{fact}</span>" for fact in facts), "{ .snippet-facts }"]


def _needs(project: Project, broker: Broker) -> list[str]:
    """Return what a snippet ran on, and where it looks for that."""
    recorded = versions(project.root)
    if broker.key not in recorded:
        raise EvidenceError(
            f"{VERSIONS} has no entry {broker.key!r}: `make record` notes what "
            f"{broker.label} ran on"
        )
    ran_on = recorded[broker.key]
    needs = [f"Ran on {ran_on['server']}, {ran_on['client']}"]
    if broker.variable:
        needs.append(f"Address: `{broker.variable}`, or `{broker.default_address}`")
    return needs


def _carrying_lines(project: Project, name: str, broker: Broker, shown: Snippet) -> list[int]:
    marked: set[int] = set()
    for claim in claims(project.root).get(name, []):
        verdict = claim.verdicts.get(broker.key)
        if verdict and verdict.line:
            marked.update(number for lines in shown.lines_of(verdict.line) for number in lines)
    return sorted(marked)


def fence(text: str, head: str) -> list[str]:
    """Return a fence that is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    marks = "`" * (longest + 1)
    return [f"{marks}{{{head}}}", *text.removesuffix("\n").split("\n"), marks]
