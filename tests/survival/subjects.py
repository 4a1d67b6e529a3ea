"""The long-lived functions of the snippets, found in their code, and how each is fed.

A function is long-lived if it takes a `handle` (a consumer), if it is a `relay`, if it is an
`asker` (what it yields asks), or if it sends on what `connect()` keeps open (a publisher).
What it takes besides is looked up by the parameter's name, so that a new snippet is in by itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from handbook.brokers import named
from tests.snippets.running import all_snippets, broker_key, companions, name

#: What a function is given, by the name of its parameter.
VALUES: dict[str, Any] = {
    "worker": "A",
    "subscriber": "notifier",
    "receiver": "archive",
    "replier": "A",
    "seconds": 120.0,
    "file": "state.json",
    "partitions": 1,
}
#: The parameters that hold messages, and the functions that come before the first, by name.
MESSAGES = ("tasks", "messages", "events", "videos", "views")
BEFORE = ("declare", "subscribe", "replay")
SENDERS = ("upload", "submit", "publish")

#: Added to a requestor's copy. A question that nobody answers in time is asked again.
ASK = """

async def one_question(messages):
    async with asker() as ask:
        return [await ask(question, 15) for question in messages]


async def keep_asking(handle):
    async with asker() as ask:
        number = 0
        while True:
            number += 1
            try:
                await ask(f"question-{number}", 5)
            except TimeoutError:
                pass
            else:
                await handle(f"answered-{number}")
            await asyncio.sleep(0.3)
"""
#: Added to a publisher's copy.
PUBLISH = """

async def keep_publishing(handle):
    async with connect() as it:
        number = 0
        while True:
            number += 1
            await {send}(it, {arguments})
            await handle(f"sent-{{number}}")
            await asyncio.sleep(0.3)
"""


class UnknownParameterError(Exception):
    """A long-lived function takes what nobody knows how to give it."""


@dataclass(frozen=True)
class Subject:
    """One long-lived function of one snippet; `kind` says how it is watched."""

    snippet: Path
    function: str
    kind: str  # consumer, replier, relay, requestor, publisher

    @property
    def key(self) -> str:
        key = broker_key(self.snippet)
        assert key
        return key

    @property
    def topic(self) -> str:
        return self.snippet.parent.name

    @property
    def name(self) -> str:
        return f"{name(self.snippet).removesuffix('.py')} {self.function}"


@cache
def functions(snippet: Path) -> dict[str, ast.AsyncFunctionDef]:
    """Return the public coroutines of a snippet, and those of shared modules that it imports."""
    tree = ast.parse(snippet.read_text())
    found = _coroutines(tree)
    taken = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is None
    }
    for companion in companions(snippet):
        theirs = _coroutines(ast.parse(companion.read_text()))
        found |= {each: theirs[each] for each in theirs.keys() & taken if each not in found}
    return found


def _coroutines(tree: ast.Module) -> dict[str, ast.AsyncFunctionDef]:
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
    }


def parameters(function: ast.AsyncFunctionDef) -> dict[str, str]:
    """Return the names and the annotations of the parameters that have to be given."""
    arguments = function.args.args[: len(function.args.args) - len(function.args.defaults)]
    return {each.arg: ast.unparse(each.annotation or ast.Constant(None)) for each in arguments}


def subjects(key: str) -> list[Subject]:
    """Return all that is long-lived on a broker, in the order of the files."""
    named(key)
    return [one for path in all_snippets() if broker_key(path) == key for one in _of(path)]


def consumer_of(snippet: Path) -> str | None:
    """Return the function that takes messages from a snippet's queue."""
    its = functions(snippet).items()
    return next((each for each, function in its if "handle" in parameters(function)), None)


def _of(snippet: Path) -> Iterator[Subject]:
    its = functions(snippet)
    sender = next((each for each in SENDERS if each in its), None)
    own = _coroutines(ast.parse(snippet.read_text()))
    for each, function in own.items():
        if each == "asker":
            yield Subject(snippet, "asker", "requestor")
        elif each == "relay" and sender and not isinstance(function.body[-1], ast.Expr):
            yield Subject(snippet, "relay", "relay")
        elif "handle" in parameters(function):
            if "asker" in its:
                yield Subject(snippet, each, "replier")
            elif sender and ("relay" not in its or "relay" in own):
                yield Subject(snippet, each, "consumer")
    if sender in own and "connect" in its and _keeps(own[sender]):
        yield Subject(snippet, str(sender), "publisher")


def _keeps(sender: ast.AsyncFunctionDef) -> bool:
    """Tell whether a function sends messages on what is open: its first parameter."""
    first, *others = [*parameters(sender), ""]
    return bool(first) and first not in MESSAGES and not {*MESSAGES}.isdisjoint(others)


def arguments(subject: Subject, function: str) -> dict[str, Any]:
    """Return what a function is called with, without its messages and what `connect()` opens."""
    given = {}
    wanted = parameters(functions(subject.snippet)[function])
    for position, parameter in enumerate(wanted):
        if parameter in VALUES:
            given[parameter] = VALUES[parameter]
        elif parameter == "patterns":
            given[parameter] = [">" if subject.key == "nats" else "#"]
        elif parameter not in (*MESSAGES, "handle") and position:
            raise UnknownParameterError(
                f"{name(subject.snippet)}: {function}() takes {parameter!r}, and nobody knows what"
                " to give it: name it as the other snippets do, or add it to VALUES in"
                " tests/survival/subjects.py"
            )
    return given


def messages(subject: Subject, function: str, labels: list[str]) -> dict[str, list[Any]]:
    """Return the messages that carry these labels, as the function takes them."""
    for parameter, annotation in parameters(functions(subject.snippet)[function]).items():
        if parameter in MESSAGES:
            pairs = "tuple" in annotation
            return {parameter: [_message(subject.topic, each, pairs=pairs) for each in labels]}
    raise UnknownParameterError(
        f"{name(subject.snippet)}: {function}() sends, and takes none of {', '.join(MESSAGES)}"
    )


def _message(topic: str, label: str, *, pairs: bool) -> Any:
    if topic == "idempotent_receiver":
        return str(uuid4()), f"viewed {label}"
    if topic in {"dead_letter_channel", "delayed_retry"}:
        return f'{{"video": "{label}"}}'
    if topic == "event_replay":
        return f'{{"kind": "viewed", "video": "{label}", "country": "AT"}}'
    if topic == "topic_router":
        return "video.uploaded.en", label
    return (label, label) if pairs else label


def driver(subject: Subject) -> tuple[str, str]:
    """Return what is added to the subject's copy, and the function that is then its life."""
    if subject.kind in {"requestor", "replier"}:
        return ASK, "keep_asking" if subject.kind == "requestor" else subject.function
    if subject.kind != "publisher":
        return "", subject.function
    given: dict[str, Any] = arguments(subject, subject.function)
    [(parameter, [message])] = messages(subject, subject.function, ["LABEL"]).items()
    text = repr({**given, parameter: [message]}).replace("'LABEL'", "f'sent-{number}'")
    text = text.replace("LABEL", "sent-0")
    return PUBLISH.format(send=subject.function, arguments=f"**{text}"), "keep_publishing"
