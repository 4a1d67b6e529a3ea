"""The form that every snippet has, so that a reader can copy one file."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from handbook.brokers import BROKERS, addressed_in, named
from tests.snippets.running import SNIPPETS, all_snippets, broker_key, name

HEAD = re.compile(r"\A# /// script\n((?:#(?: .*)?\n)+?)# ///\n")
#: Import name of a package, where it is not the name under which it is published.
PUBLISHED_AS = {
    "aio_pika": "aio-pika",
    "nats": "nats-py",
    "opentelemetry": "opentelemetry-sdk",
    "paho": "paho-mqtt",
    "psycopg": "psycopg[binary]",
}
TOPICS = sorted(path for path in (SNIPPETS / "patterns").iterdir() if path.is_dir())

each = pytest.mark.parametrize("snippet", all_snippets(), ids=name)


def head(snippet: Path) -> dict[str, object]:
    """Return what the snippet's script metadata says (PEP 723)."""
    found = HEAD.match(snippet.read_text())
    assert found, "the file begins with `# /// script`"
    return tomllib.loads(re.sub(r"^# ?", "", found[1], flags=re.MULTILINE))


def imported(snippet: Path) -> set[str]:
    """Return the top-level packages that the snippet imports from outside the standard library."""
    names = set()
    for node in ast.walk(ast.parse(snippet.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {one.split(".")[0] for one in names} - set(sys.stdlib_module_names)


@each
def test_head_names_exactly_what_is_imported(snippet: Path) -> None:
    metadata = head(snippet)
    assert metadata["requires-python"] == ">=3.11"
    dependencies = metadata["dependencies"]
    assert isinstance(dependencies, list)
    declared = {re.split(r"[<>=~!]", one)[0] for one in dependencies}
    used = {PUBLISHED_AS.get(one, one) for one in imported(snippet) - {"minibroker"}}
    assert declared == used


@each
def test_size_and_width(snippet: Path) -> None:
    # Seventy lines are the aim. What is safe on a broker with leases, or with a client that has
    # no asyncio, takes more; this is the end of it. A database beside the broker takes its part,
    # and so does a state in a file beside a client that needs a thread.
    lines = snippet.read_text().splitlines()
    two = broker_key(snippet) != "postgresql" and "DATABASE_URL" in snippet.read_text()
    beside = broker_key(snippet) == "mqtt" and "TemporaryDirectory" in snippet.read_text()
    assert 30 <= len(lines) <= (190 if two or beside else 145)
    assert max(map(len, lines)) <= 79


@each
def test_address_comes_from_one_variable_with_the_usual_default(snippet: Path) -> None:
    key = broker_key(snippet)
    text = snippet.read_text()
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


@pytest.mark.parametrize("topic", TOPICS, ids=lambda path: path.name)
def test_topic_is_on_known_brokers_with_one_signature(topic: Path) -> None:
    files = sorted(topic.glob("*.py"))
    assert {path.name for path in files} <= {broker.file_name for broker in BROKERS}
    # The minibroker's snippet has the pattern's functions and nothing else.
    wanted = _signatures(topic / named("minibroker").file_name)
    assert wanted
    for path in files:
        assert wanted <= _signatures(path), path.name


def _signatures(path: Path) -> set[str]:
    return {
        f"{node.name}({ast.unparse(node.args)}) -> {node.returns and ast.unparse(node.returns)}"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
    }
