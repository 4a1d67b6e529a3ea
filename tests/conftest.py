"""What all tests share: the servers, the option that rewrites records, the closing table."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.brokers import NotFoundError, Server, make
from tests.report import Report

REQUIRED = os.environ.get("BROKERS") == "required"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update",
        action="store_true",
        help="rewrite outputs, pictures and docs/data from this run instead of comparing",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "broker(key): the test proves something about this broker")
    config.pluginmanager.register(Report(config, required=REQUIRED), "handbook-report")
    # A polite request to end cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))


class Servers:
    """One running server of each kind, started when the first test asks for it."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._missing: dict[str, str] = {}

    def empty(self, key: str) -> Server:
        """Return the server called `key`, running and empty."""
        if key in self._missing:
            raise NotFoundError(self._missing[key])
        try:
            if key not in self._servers:
                self._servers[key] = make(key)
            self._servers[key].reset()
        except NotFoundError as error:
            self._missing[key] = str(error)
            raise
        return self._servers[key]

    def close(self) -> None:
        """End every server and remove its data."""
        for server in self._servers.values():
            server.close()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    pool = Servers()
    try:
        yield pool
    finally:
        pool.close()


def broker_of(request: pytest.FixtureRequest) -> str:
    """Return the broker that the test is marked with."""
    marker = request.node.get_closest_marker("broker")
    assert marker, "a test that uses `server` is marked with its broker"
    return str(marker.args[0])


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Servers) -> Server | None:
    """The test's broker, running and empty; None for the minibroker, which has no server."""
    key = broker_of(request)
    if key == "minibroker":
        return None
    try:
        found = servers.empty(key)
    except NotFoundError as error:
        if REQUIRED:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    request.node.user_properties.append(("server", f"{found.version()} ({found.source.name})"))
    return found
