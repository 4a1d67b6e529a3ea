"""What the tests of error texts share: a server for a whole file, and a place to hand texts to."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import traceback
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from handbook.errors import LOG
from tests.brokers import Server, debian
from tests.conftest import Servers, emptied
from tests.errors.recorded import ROOT, Recorded, Text, key_of
from tests.records import CLIENTS

#: How a program says its version, where its name and `--version` do not.
VERSION = {"kcat": "-V"}


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Return the broker of the file, running; it is empty when the file begins, not each test.

    So a test has queues, topics and groups of its own, and stops no server but `server.another()`.
    """
    return emptied(servers, request.node.get_closest_marker("broker").args[0])


@pytest.fixture(autouse=True)
def _told_to_the_report(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        found: Server = request.getfixturevalue("server")
        said = f"{found.version()} ({found.source.name})"
        request.node.user_properties.append(("server", said))


class Hearing:
    """What a test hands over, compared with the record or written into it.

    `said(error)` takes an exception, which is shown as the last line of a traceback, or a text.
    `client` is a package, a program or "log"; without it, the client of the handbook's snippets.
    `mask` has patterns of what changes from run to run, and what is shown instead.
    """

    def __init__(self, tests: Path, name: str, server: Server | None, *, update: bool) -> None:
        self.key = key_of(name)
        self.server = server
        self.client = CLIENTS[server.key] if server else "Python"
        self.recorded = Recorded(tests, debian.CHOSEN.name if server else "any")
        self.update = update
        self.texts: list[Text] = []

    def __call__(
        self,
        said: BaseException | str,
        *,
        client: str | None = None,
        mask: Mapping[str, str] | None = None,
    ) -> None:
        """Note what was said."""
        client = client or self.client
        text = said if isinstance(said, str) else _last_line(said)
        if self.server:
            default = self.server.broker.default_address or ""
            usual = re.findall(r":(\d+)", default)[-1]
            text = re.sub(rf"\b{self.server.port_number}\b", usual, text)
        for pattern, instead in (mask or {}).items():
            text, count = re.subn(pattern, instead, text)
            assert count, f"{pattern!r} masks nothing of {text!r}"
        text = "\n".join(line.rstrip() for line in text.strip().splitlines())
        assert text, f"{client} said nothing"
        self.texts.append(Text(text, client, self._versions(client)))

    def settle(self) -> None:
        """Compare with the record, or with --update write it."""
        if self.update:
            self.recorded.write(self.key, self.texts)
            return
        heard = sorted((each.client, each.text) for each in self.texts)
        known = sorted((each.client, each.text) for each in self.recorded.texts(self.key))
        where = self.recorded.file.relative_to(ROOT)
        assert heard == known, (
            f"{where} has another text for {self.key!r}: run this test with --update, and read "
            "the difference before you commit it"
        )

    def _versions(self, client: str) -> dict[str, str]:
        found = {} if client == LOG else {"client": self._version(client)}
        return {**found, "server": self.server.version()} if self.server else found

    def _version(self, client: str) -> str:
        if client == "Python":
            return f"Python {'.'.join(platform.python_version_tuple()[:2])}"
        try:
            return f"{client} {importlib.metadata.version(client)}"
        except importlib.metadata.PackageNotFoundError:
            assert self.server, f"{client} is no package, and no server brings it"
        command = self.server.source.command(client, VERSION.get(client, "--version"))
        printed = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        number = re.search(r"\d+\.\d+[.\d]*\d|\d+\.\d+", printed.stdout + printed.stderr)
        assert number, f"{command} names no version: {printed}"
        return f"{client} {number[0]}"


def _last_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error))


@pytest.fixture
def said(request: pytest.FixtureRequest) -> Hearing:
    """Hear what a test provokes. One that provokes nothing on a generation hands nothing over."""
    server = request.getfixturevalue("server") if "server" in request.fixturenames else None
    update = request.config.option.update_errors
    return Hearing(request.node.path, request.node.originalname, server, update=update)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Compare what a test heard, once it has ended well."""
    yield
    if isinstance(hearing := getattr(item, "funcargs", {}).get("said"), Hearing):
        hearing.settle()
