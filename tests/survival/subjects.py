"""The long-lived functions of the snippets, found in their code, and how each is fed.

A function is long-lived if it loops and takes a `handle` (a consumer), if it is a `relay`, if it is
a `requestor` (what it yields sends a request), or if it sends on what `connect()` keeps open (a
publisher). What it takes besides is looked up by the parameter's name: a new snippet is in by
itself. What takes no `handle` needs a drive: see drives.py.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.snippets.running import all_snippets, broker_key, companions, name
from tests.survival.drives import AGAIN, BY_PARAMETER, DRIVES, ENDS, READ, Drive

#: What a function is given, by the name of its parameter.
VALUES: dict[str, Any] = {
    "worker": "A",
    "subscriber": "notifier",
    "receiver": "archive",
    "replier": "A",
    "seconds": 120.0,
    "file": "state.json",
    "partitions": 1,
    "queue": "mail",
    # An id stays short when the message is too large: else it would be what is refused.
    "number": "LABEL-ID",
    "notice": "LABEL-ID",
}
#: The parameters that hold messages, or one; and the functions before the first, by their names.
MESSAGES = ("tasks", "messages", "events", "videos", "views")
ONE = ("task", "message", "event", "video", "view", "body")
BEFORE = ("declare", "subscribe", "replay")
SENDERS = ("upload", "submit", "publish", "send")

#: Added to a requestor's copy. A request that gets no reply in time is followed by another.
REQUEST = """

async def drive_live(handle):
    async with requestor() as request:
        number = 0
        while True:
            number += 1
            try:
                await request(f"request-{number}", 5)
            except TimeoutError:
                pass
            else:
                await handle(f"replied-{number}")
            await asyncio.sleep(0.3)
"""
#: Added to a replier's copy.
REQUEST_EACH = """

async def drive_feed(messages):
    async with requestor() as request:
        return [await request(body, 15) for body in messages]
"""
#: Added to a publisher's copy.
PUBLISH = """

async def drive_live(handle):
    async with connect() as it:
        await keep_calling(lambda label: {send}(it, **{arguments}), handle)
"""
LABEL = '"LABEL"'


class UnknownError(Exception):
    """A long-lived function that nobody knows how to try."""


@dataclass(frozen=True)
class Subject:
    """One long-lived function of one snippet; `kind` says how it is watched."""

    snippet: Path
    function: str
    kind: str  # consumer, replier, relay, requestor, publisher
    drive: Drive | None = None

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
        return f"{_named(self.snippet)} {self.function}"

    @property
    def obeys(self) -> bool:
        """Tell whether its handler can be told to fail, or to hold what it has."""
        if self.drive:
            return self.drive.obeys
        return self.kind in {"consumer", "replier"}

    def has(self, function: str) -> bool:
        """Tell whether its drive has this function."""
        return self.drive is not None and f"def {function}(" in self.drive.code


def _named(snippet: Path) -> str:
    return name(snippet).removesuffix(".py")


@cache
def functions(snippet: Path) -> dict[str, ast.AsyncFunctionDef]:
    """Return the public coroutines of a snippet, and those of shared modules that it imports."""
    tree = ast.parse(snippet.read_text())
    found = _coroutines(tree)
    taken = {
        alias.asname or alias.name: alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for companion in companions(snippet):
        theirs = _coroutines(ast.parse(companion.read_text()))
        found |= {
            ours: theirs[each]
            for ours, each in taken.items()
            if each in theirs and ours not in found
        }
    return found


def _coroutines(tree: ast.Module) -> dict[str, ast.AsyncFunctionDef]:
    found: dict[str, ast.AsyncFunctionDef] = {}
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{each.name}": each
                for each in node.body
                if isinstance(each, ast.AsyncFunctionDef)
            }
    return {each: one for each, one in found.items() if not one.name.startswith("_") and _does(one)}


def _does(function: ast.AsyncFunctionDef) -> bool:
    """Tell whether a function does anything: one that a broker has no need of is a docstring."""
    return len(function.body) > 1 or ast.get_docstring(function) is None


def parameters(function: ast.AsyncFunctionDef) -> dict[str, str]:
    """Return the names and the annotations of the parameters that have to be given."""
    arguments = function.args.args[: len(function.args.args) - len(function.args.defaults)]
    return {each.arg: ast.unparse(each.annotation or ast.Constant(None)) for each in arguments}


@cache
def subjects(key: str) -> list[Subject]:
    """Return all that is long-lived on a broker, in the order of the files."""
    return [one for path in all_snippets() if broker_key(path) == key for one in of(path)]


def chosen(key: str) -> list[Subject]:
    """Return the subjects, or those whose name has what SURVIVE is set to."""
    return [one for one in subjects(key) if os.environ.get("SURVIVE", "") in one.name]


def consumer_of(snippet: Path) -> str | None:
    """Return the function that takes messages from a snippet's queue."""
    its = functions(snippet).items()
    return next((each for each, function in its if "handle" in parameters(function)), None)


def loops(function: ast.AsyncFunctionDef) -> bool:
    """Tell whether it has a loop that another one's deeds could make endless."""
    return any(isinstance(node, (ast.While, ast.AsyncFor)) for node in ast.walk(function))


def of(snippet: Path) -> Iterator[Subject]:
    """Yield the long-lived functions of one snippet."""
    its = functions(snippet)
    sender = next((each for each in SENDERS if each in its), None)
    own = _coroutines(ast.parse(snippet.read_text()))
    for each, function in own.items():
        full, takes = f"{_named(snippet)} {each}", parameters(function)
        drive = next((BY_PARAMETER[it] for it in takes if it in BY_PARAMETER), None)
        drive = drive if loops(function) else None
        if drive := DRIVES.get(full, drive):
            yield Subject(snippet, each, drive.kind, drive)
        elif full in ENDS:
            continue
        elif each == "requestor":
            yield Subject(snippet, each, "requestor", Drive("requestor", REQUEST))
        elif each == "relay":
            yield Subject(snippet, each, "relay")
        elif "handle" in takes and "requestor" in its:
            yield Subject(snippet, each, "replier", Drive("replier", REQUEST_EACH, obeys=True))
        elif "handle" in takes and sender:
            yield Subject(snippet, each, "consumer")
        elif each == sender and "connect" in its and _keeps(function):
            yield Subject(snippet, each, "publisher")


def untried(snippet: Path) -> list[str]:
    """Return the functions that have a loop and that nobody tries, or says why not."""
    tried = {one.function for one in of(snippet)}
    taker = {"connect", "requestor", *READ, *BEFORE, *SENDERS}
    return [
        f"{_named(snippet)} {each}"
        for each, function in _coroutines(ast.parse(snippet.read_text())).items()
        if (loops(function) or "handle" in parameters(function))
        and each not in tried | taker
        and f"{_named(snippet)} {each}" not in ENDS
    ]


def _keeps(sender: ast.AsyncFunctionDef) -> bool:
    """Tell whether a function sends messages on what is open: its first parameter."""
    first, *others = [*parameters(sender), ""]
    sent = {*MESSAGES, *ONE}
    return bool(first) and first not in sent and not sent.isdisjoint(others)


def arguments(subject: Subject, function: str) -> dict[str, Any]:
    """Return what a function is called with, without its messages and what `connect()` opens."""
    given = {}
    wanted = parameters(functions(subject.snippet)[function])
    for position, parameter in enumerate(wanted):
        if parameter in VALUES:
            given[parameter] = VALUES[parameter]
        elif parameter == "patterns":
            given[parameter] = [">" if subject.key == "nats" else "#"]
        elif parameter not in (*MESSAGES, *ONE, "handle", "limit") and position:
            raise UnknownError(
                f"{name(subject.snippet)}: {function}() takes {parameter!r}, and nobody knows what"
                " to give it: name it as the other snippets do, or add it to VALUES in"
                " tests/survival/subjects.py, or a drive to tests/survival/drives.py"
            )
    return given


def messages(subject: Subject, function: str, labels: list[str]) -> dict[str, Any]:
    """Return the messages that carry these labels, as the function takes them."""
    for parameter, annotation in parameters(functions(subject.snippet)[function]).items():
        if parameter in MESSAGES:
            pairs = "tuple" in annotation
            return {parameter: [_message(subject.topic, each, pairs=pairs) for each in labels]}
        if parameter in ONE:
            return {parameter: labels[0]}
    raise UnknownError(
        f"{name(subject.snippet)}: {function}() sends, and takes none of {', '.join(MESSAGES)}: "
        "name its parameter so, or add a drive to tests/survival/drives.py"
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
    return ("cat", label) if pairs else label


def driven(subject: Subject) -> str:
    """Return what is added to the subject's copy."""
    if subject.drive:
        added = subject.drive.code
    elif subject.kind == "publisher":
        given = arguments(subject, subject.function)
        given |= messages(subject, subject.function, ["LABEL"])
        added = PUBLISH.format(send=subject.function, arguments=_with_label(given))
    else:
        return ""
    head = "\n\nimport asyncio\nfrom pathlib import Path\n"
    return head + (AGAIN if subject.kind == "publisher" else "") + added


def _with_label(given: dict[str, Any]) -> str:
    """Return the arguments as code, in which the variable `label` is the message."""
    tree = ast.parse(repr(given), mode="eval")
    for node in ast.walk(tree):
        for field, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(node, field, [_label(each) for each in value])
            elif isinstance(value, ast.AST):
                setattr(node, field, _label(value))
    return ast.unparse(tree)


def _label(node: Any) -> Any:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return node
    if node.value == "LABEL-ID":
        return ast.parse("label[:50]", mode="eval").body
    before, found, after = node.value.partition("LABEL")
    if not found:
        return node
    code = f"{before!r} + label + {after!r}" if before or after else "label"
    return ast.parse(code, mode="eval").body
