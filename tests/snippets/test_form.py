"""The form that every snippet has, so that a reader can copy one file."""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from handbook.brokers import BROKERS, addressed_in, named
from tests.snippets.running import (
    SNIPPETS,
    all_snippets,
    broker_key,
    companions,
    name,
    whole_code,
)

HEAD = re.compile(r"\A# /// script\n((?:#(?: .*)?\n)+?)# ///\n")
#: Import name of a package, where it is not the name under which it is published.
PUBLISHED_AS = {
    "aio_pika": "aio-pika",
    "nats": "nats-py",
    "opentelemetry": "opentelemetry-sdk",
    "pamqp": "aio-pika",  # which gives out its types, and brings it along
    "paho": "paho-mqtt",
    "psycopg": "psycopg[binary]",
}
#: Without PostgreSQL, it has the receiver's database in itself.
LONGER = {
    "patterns/idempotent_receiver/on_minibroker.py": 112,
    # RabbitMQ has no delay, no end of a stream and no key: the snippets build these.
    "patterns/delayed_retry/on_rabbitmq.py": 112,
    "patterns/event_replay/on_rabbitmq.py": 130,
    "patterns/partitioned_consumers/on_rabbitmq.py": 107,
    # A whole system: a producer, workers, a clock, and what goes wrong between them.
    "labs/playground.py": 242,
}
#: What a pattern's page shows first: lines of code, without the head and the docstring.
IDEA, IDEA_LINES = "idea*.py", 25
TOPICS = sorted(path for path in (SNIPPETS / "patterns").iterdir() if path.is_dir())

each = pytest.mark.parametrize("snippet", all_snippets(), ids=name)


def head(snippet: Path) -> dict[str, object]:
    """Return what the snippet's script metadata says (PEP 723)."""
    found = HEAD.match(snippet.read_text())
    assert found, "the file begins with `# /// script`"
    return tomllib.loads(re.sub(r"^# ?", "", found[1], flags=re.MULTILINE))


def imported(snippet: Path) -> set[str]:
    """Return the packages from outside the standard library that the snippet needs."""
    names = set()
    for node in ast.walk(ast.parse(whole_code(snippet))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {one.split(".")[0] for one in names} - {
        *sys.stdlib_module_names,
        *(path.stem for path in companions(snippet)),
    }


#: What no sentence of two words or more begins with, and many a fragment does.
CONJUNCTION = re.compile(r"(and|also|but|or|which|whose) ")


def comments(file: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield each comment behind its head: its last line, its text, and whether it stands alone."""
    code = file.read_text()
    block: list[str] = []
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        number, column = token.start
        if token.type != tokenize.COMMENT or number <= 4:
            continue
        text = token.string.removeprefix("#").strip()
        if lines[number - 1][:column].strip():
            yield number, text, False
            continue
        block.append(text)
        if not lines[number].strip().startswith("#"):
            yield number, " ".join(block), True
            block.clear()


@pytest.mark.parametrize("file", sorted(SNIPPETS.rglob("*.py")), ids=name)
def test_comments_are_sentences(file: Path) -> None:
    """As far as one can see without grammar. A unit or a kind behind a value is a label."""
    for line, text, alone in comments(file):
        said = f"{name(file)}:{line}: {text!r} is no sentence: give it a subject and a verb"
        assert not alone or text.endswith((".", "?", "!", ":")), said
        assert not CONJUNCTION.match(text), said


@each
def test_head_names_exactly_what_is_imported(snippet: Path) -> None:
    metadata = head(snippet)
    assert metadata["requires-python"] == ">=3.11"
    dependencies = metadata["dependencies"]
    assert isinstance(dependencies, list)
    declared = {re.split(r"[<>=~!]", one)[0] for one in dependencies}
    used = {PUBLISHED_AS.get(one, one) for one in imported(snippet)}
    assert declared == used


@each
def test_size_and_width(snippet: Path) -> None:
    lines = snippet.read_text().splitlines()
    least = 10 if snippet.match(IDEA) else 30
    assert (
        least
        <= len(lines)
        <= LONGER.get(name(snippet), 100 if "patterns" in snippet.parts else 145)
    )
    assert max(map(len, lines)) <= 79


def test_half_of_the_patterns_snippets_are_short() -> None:
    # The aim is 80; what is reached stays reached.
    files = [path for topic in TOPICS for path in topic.glob("on_*.py")]
    lines = [len(path.read_text().splitlines()) for path in files]
    assert statistics.median(lines) <= 92


@each
def test_address_comes_from_one_variable_with_the_usual_default(snippet: Path) -> None:
    key = broker_key(snippet)
    text = whole_code(snippet)
    variables = re.findall(r"environ(?:\.get)?[\[(]\s*\"(\w+)\"", text)
    # Beside its broker, a service may have a database.
    wanted = [named(key)] if key else []
    if "DATABASE_URL" in variables and key not in (None, "minibroker", "postgresql"):
        wanted.append(named("postgresql"))
    assert sorted(variables) == sorted(one.variable for one in wanted if one.variable)
    assert addressed_in(text) == [one for one in BROKERS if one in wanted and one.variable]
    for one in wanted:
        assert one.default_address is None or f'"{one.default_address}"' in text


@each
def test_nothing_is_silenced(snippet: Path) -> None:
    assert not re.search(r"# *(noqa|type: *ignore|pragma)", snippet.read_text())


def test_a_nack_to_rabbitmq_says_that_it_does_not_count() -> None:
    """From 4.3 on it is no failure: a worker that gives a task back so would never be stopped."""
    files = [*SNIPPETS.rglob("on_rabbitmq.py"), *SNIPPETS.glob("*rabbitmq*.py")]
    lines = [(name(file), line) for file in files for line in file.read_text().splitlines()]
    assert not [
        f"{file}: {line.strip()}: `reject` counts on all versions; if it must not, say `# 4.3 …`"
        for file, line in lines
        if ".nack(" in line and "# 4.3" not in line
    ]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda path: path.name)
def test_topic_is_on_known_brokers_with_one_signature(topic: Path) -> None:
    files = sorted(topic.glob("on_*.py"))
    assert {path.name for path in files} <= {broker.file_name for broker in BROKERS}
    # The minibroker's snippet has the pattern's functions and nothing else. A broker's function may
    # take what is open before these parameters, and options of its own after them.
    wanted = _signatures(topic / named("minibroker").file_name)
    assert wanted
    for path in files:
        theirs = _signatures(path)
        for function, (parameters, returns) in wanted.items():
            assert function in theirs, f"{path.name}: {function}"
            given, value = theirs[function]
            assert value == returns, f"{path.name}: {function}"
            assert parameters in (given[: len(parameters)], given[1 : len(parameters) + 1]), (
                f"{path.name}: {function}"
            )


@pytest.mark.parametrize("topic", TOPICS, ids=lambda path: path.name)
def test_an_idea_is_two_short_files_on_the_minibroker(topic: Path) -> None:
    beside = {path.name for path in topic.glob("*.py")} - {one.file_name for one in BROKERS}
    assert beside in (set(), {"idea.py", "idea_fails.py"}), f"{topic.name} has others: {beside}"
    for path in sorted(topic.glob(IDEA)):
        assert [each.name for each in companions(path)] == ["minibroker.py"], name(path)
        _, docstring, code = path.read_text().split('"""', 2)
        assert "\n" not in docstring, f"{name(path)}: the docstring is one line"
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) <= IDEA_LINES, f"{name(path)} has {len(lines)} lines of code"


def _signatures(path: Path) -> dict[str, tuple[list[str], str]]:
    """Return the parameters, with their defaults, and the result of each public coroutine."""
    found = {}
    for code in (*companions(path), path):
        for node in ast.parse(code.read_text()).body:
            if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
                arguments = node.args.args
                bare = [None] * (len(arguments) - len(node.args.defaults))
                parameters = [
                    ast.unparse(each) + (f" = {ast.unparse(default)}" if default else "")
                    for each, default in zip(arguments, [*bare, *node.args.defaults], strict=True)
                ]
                found[node.name] = parameters, ast.unparse(node.returns) if node.returns else ""
    return found
