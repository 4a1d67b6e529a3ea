"""`::: code <topic> [function…]` and `::: file <path> [section]`: snippets, and their output."""

from __future__ import annotations

import re

from handbook.brokers import BROKERS, Broker, addressed_in
from handbook.directives import survival
from handbook.directives.project import Project
from handbook.evidence import VERSIONS, EvidenceError, claims, versions
from handbook.snippet import FOLDER, Snippet, SnippetError, snippet, topics


def topic(project: Project, argument: str) -> str:
    """Return one tab a broker that has a snippet in the folder.

    Functions that are named stand first, and the whole file is folded below them. Not every broker
    needs each of them, but a name that no broker has is an error.
    """
    name, *functions = argument.split() or [""]
    tabs: list[str] = []
    found: dict[str, None] = {}
    for broker in BROKERS:
        path = f"{name}/{broker.file_name}"
        if name and (project.snippets / path).is_file():
            shown = snippet(project.snippets, path)
            marked = _carrying_lines(project, name, broker, shown)
            if functions:
                found |= {each: None for file in _files(project, shown) for each in file.sections}
                body = _parts(project, shown, marked, broker, functions)
            else:
                body = _whole(project, shown, marked, broker)
            tabs += [f'=== "{broker.label}"', "", *(f"    {line}" for line in body), ""]
    if not tabs:
        raise SnippetError(
            f"{FOLDER}/{name} holds no snippet of a broker (on_<broker>.py); topics are: "
            + ", ".join(topics(project.snippets))
        )
    for function in functions:
        if function not in found:
            raise SnippetError(
                f"no on_<broker>.py of {FOLDER}/{name} has a function {function!r}; there are: "
                + ", ".join(found)
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
    return [
        *_code(shown, marked),
        "",
        *_run(project, shown),
        "",
        *_facts(project, shown, broker),
    ]


def _parts(
    project: Project, shown: Snippet, marked: list[int], broker: Broker, functions: list[str]
) -> list[str]:
    """Return the functions, how to start the broker and to run the file, and the file folded."""
    return [
        *_sections(project, shown, marked, functions),
        *_start(project, shown, broker),
        *_run(project, shown),
        "",
        *_facts(project, shown, broker),
        "",
        f'??? whole "The whole file, {len(shown.code.splitlines())} lines"',
        "",
        *(f"    {line}" for line in _code(shown, marked)),
    ]


def _sections(
    project: Project, shown: Snippet, marked: list[int], functions: list[str]
) -> list[str]:
    """Return the functions of the file; one that a companion has comes from there."""
    taken: dict[Snippet, list[str]] = {}
    for name in functions:
        for file in _files(project, shown):
            if name in file.sections:
                taken.setdefault(file, []).append(name)
                break
    parts: list[str] = []
    for file, names in taken.items():
        texts = [file.section(each).rstrip("\n") for each in names]
        # Between two functions stand two empty lines.
        numbers = [number for each in names for number in (*file.sections[each], 0, 0)]
        carrying = [at for at, each in enumerate(numbers, start=1) if each in marked]
        title = f"{file.path}: {', '.join(names)}"
        lines = _marks(carrying) if file == shown else ""
        parts += [*fence("\n\n\n".join(texts), f'.python .part title="{title}"{lines}'), ""]
    return parts


def _files(project: Project, shown: Snippet) -> list[Snippet]:
    return [shown, *(snippet(project.snippets, each) for each in shown.companions)]


def _start(project: Project, shown: Snippet, broker: Broker) -> list[str]:
    """Return how a reader starts what the snippet needs; the minibroker needs nothing."""
    needed = [each for each in (broker, *addressed_in(shown.whole_code)) if each.variable]
    if not needed:
        return []
    labels = " and ".join(dict.fromkeys(each.label for each in needed))
    keys = " ".join(dict.fromkeys(each.key for each in needed))
    only = f"'{keys}'" if " " in keys else keys
    address = f"{project.site_url.rstrip('/')}/compose.yaml"
    command = f"curl -O {address} && docker compose up --wait {keys}"
    title = f"Start {labels}, or in a clone without Docker: make brokers ONLY={only}"
    return [*fence(command, f'.text .command .start title="{title}" linenums="1"'), ""]


def _code(shown: Snippet, marked: list[int]) -> list[str]:
    head = f'.python .snippet title="{shown.path}" linenums="1"{_marks(marked)}'
    return fence(shown.code, f'{head} data-snippet="{shown.path}"')


def _marks(lines: list[int]) -> str:
    return f' hl_lines="{" ".join(map(str, lines))}"' if lines else ""


def _run(project: Project, shown: Snippet) -> list[str]:
    printed = f'.text .output .no-copy title="Output" data-output="{shown.path}"'
    return [
        *fence(shown.command(project.site_url), '.text .command linenums="1"'),
        "",
        *fence(shown.output, printed),
    ]


def _facts(
    project: Project, shown: Snippet, broker: Broker | None = None, section: str = ""
) -> list[str]:
    facts = [download(project, shown)]
    if broker:
        facts += _needs(project, broker)
        for other in addressed_in(shown.whole_code):
            if other != broker:
                facts += _needs(project, other)
    facts += survival.facts(project, shown.path, section)
    return [*(f"<span>{fact}</span>" for fact in facts), "{ .snippet-facts }"]


def download(project: Project, shown: Snippet) -> str:
    """Return the link that saves the file under a name that says what it is."""
    link = project.published(shown.path)
    return f'[Download {shown.download_name}]({link}){{ download="{shown.download_name}" }}'


def _needs(project: Project, broker: Broker) -> list[str]:
    """Return what a snippet ran on, and where it looks for that."""
    recorded = versions(project.root)
    if broker.key not in recorded:
        raise EvidenceError(
            f"{VERSIONS} has no entry {broker.key!r}: `make record` notes what "
            f"{broker.label} ran on"
        )
    ran_on = recorded[broker.key]
    also = f", and on {ran_on['stable']}" if "stable" in ran_on else ""
    needs = [f"Ran on {ran_on['server']}{also}, with {ran_on['client']}"]
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
