"""What all tests share: the servers, the option that rewrites records, the closing table."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from handbook.brokers import BROKERS, addressed_in, named
from tests.brokers import SUBSTITUTES, NotFoundError, NotOursError, Server, debian, make
from tests.brokers.generations import NEWEST
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import work_root
from tests.patterns.home import companions_as_found
from tests.report import Report

REQUIRED = os.environ.get("BROKERS") == "required"
#: What asks a server, and shows something of a page's numbers, of our own harness, or of clusters,
#: which the newest servers make.
OURS = (
    "tests/atlas/",
    "tests/benchmarks/",
    "tests/labs/",
    "tests/survival/test_can_fail.py",
)
#: Folders in which nothing asks a server: what runs on servers only need not load them.
SERVERLESS = ("tests/docs/", "tests/handbook/", "tests/mutants/")
#: Of what pages show, what runs elsewhere.
WITHOUT_BROWSER = ("tests/site/test_copied.py", "tests/site/test_under_node.py")
#: Tests of a file that share what takes long to start, and leave it running.
TOGETHER = ("tests/errors/", "tests/site/test_under_node.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update",
        action="store_true",
        help="rewrite outputs, pictures and docs/data from this run instead of comparing",
    )
    parser.addoption(
        "--servers",
        action="store_true",
        help="run what needs a real server, as it is: for a generation that runs after another",
    )
    parser.addoption(
        "--table",
        type=Path,
        metavar="FILE",
        help="keep the closing table there; with --servers, begin it with the one that is there",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "broker(key): the test proves something about this broker")
    update = config.option.update
    # The pages show the newest servers. Of others, only their versions are recorded, and the texts
    # of errors. The processes of a parallel run get the options as they are here.
    config.option.update_errors = update or getattr(config.option, "update_errors", False)
    config.option.update = update and debian.CHOSEN is NEWEST
    if hasattr(config, "workerinput"):
        end_with_parent()
    else:  # the process that sees all of a parallel run
        report = Report(config, debian.CHOSEN, update=update, required=REQUIRED)
        config.pluginmanager.register(report, "handbook-report")
        if config.pluginmanager.hasplugin("xdist"):
            config.pluginmanager.register(Parallel(), "handbook-parallel")
    work_root()
    # No test takes the machine's power. Where a busy disk lets a quorum queue wait for five seconds
    # for its first leader, RabbitMQ closes the connection: INTERNAL_ERROR.
    if has_room(debian.MEMORY):
        Rabbitmq.place = debian.MEMORY
    # Ctrl-C and a polite request to end both clean up, also for a suite in the background, whose
    # shell told it to ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def has_room(place: Path) -> bool:
    """Tell whether servers' data may be there."""
    return os.access(place, os.W_OK) and shutil.disk_usage(place).free > 2 << 30


def end_with_parent() -> None:
    """Have Linux end this process, as if asked politely, when the one that began the run ends."""
    if sys.platform == "linux":
        parent_death_signal = 1  # PR_SET_PDEATHSIG, see prctl(2)
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Say loudly which proofs a server that was given by its address does not allow."""
    try:
        yield
    except NotOursError as error:
        if REQUIRED:
            raise
        pytest.skip(f"{item.name}: {error}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Load nothing of which nothing would run."""
    if not config.option.servers:
        return None
    folder = f"{collection_path.relative_to(config.rootpath).as_posix()}/"
    return folder in (*OURS, *SERVERLESS) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each item with its broker; faults come first, as they wait for long, then the pages.

    Those take one process for long, while the others wait for their brokers. The tests of a page
    come together, so that it is opened once.
    """
    elsewhere = [item for item in items if not _is_here(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if _is_here(item)]
    if config.option.servers:
        others = [item for item in items if not _asks_a_server(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _asks_a_server(item)]
    if lost := [
        one.nodeid for one in items if one.nodeid.startswith(SERVERLESS) and _asks_a_server(one)
    ]:
        raise pytest.UsageError(f"on stable servers this would not run, see SERVERLESS: {lost[0]}")
    for item in items:
        if marker := item.get_closest_marker("broker"):
            item.user_properties.append(("broker", named(marker.args[0]).key))
    items.sort(key=lambda item: (_turn(item.nodeid), _page(item)))


def _asks_a_server(item: pytest.Item) -> bool:
    """Tell whether it is about a server, as it is: a changed twin shows something of our test."""
    if item.nodeid.startswith(OURS):
        return False
    marker = item.get_closest_marker("broker")
    given: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    twin = getattr(given.get("case"), "without", False)
    return bool(marker and named(marker.args[0]).variable) and not twin


def _is_here(item: pytest.Item) -> bool:
    """Tell whether its server is in this run: those in another's place are of the newest ones.

    At an address that was given there is the broker itself, or one in its place.
    """
    marker = item.get_closest_marker("broker")
    if not marker or marker.args[0] not in SUBSTITUTES:
        return True
    return debian.CHOSEN is NEWEST and named(marker.args[0]).variable not in os.environ


def _needs_browser(nodeid: str) -> bool:
    return nodeid.startswith("tests/site/") and not nodeid.startswith(WITHOUT_BROWSER)


def _waits(nodeid: str) -> bool:
    return nodeid.startswith("tests/survival/test_survival.py")


def _turn(nodeid: str) -> int:
    return 0 if _waits(nodeid) else 1 if _needs_browser(nodeid) else 2


def _page(item: pytest.Item) -> str:
    """Return the page that a test is about, if it is about one."""
    parameters: dict[str, str] = getattr(getattr(item, "callspec", None), "params", {})
    return parameters.get("path", "") if _needs_browser(item.nodeid) else ""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Which tests share a process of a parallel run; each of the others goes to any.

    All that need a browser do: it keeps two processors busy, and two of them are slower than one.
    Faults of a broker do too, as its servers and actors go from one to the next, and so do those of
    every second broker: all at once would be too many. Everything does if a server was given by its
    address, as there is only one of it. (The groups that xdist 3.8 offers for this have no effect
    on pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        if any(broker.variable in os.environ for broker in BROKERS if broker.variable):
            return "everything"
        if _needs_browser(nodeid):
            return "pages"
        if _waits(nodeid) and "[" in nodeid:
            key = re.split(r"[\[-]", nodeid)[1]
            return f"faults {[broker.key for broker in BROKERS].index(key) % 2}"
        if nodeid.startswith(TOGETHER):
            return nodeid.partition("::")[0]
        return nodeid


class Parallel:
    """Hooks of a parallel run, in the process that sees all of it."""

    @staticmethod
    def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
        return Scheduling(config, log)


class Servers:
    """One running server of each kind, started when the first test asks for it."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._missing: dict[str, str] = {}

    def empty(self, key: str) -> Server:
        """Return the server called `key`, running and empty."""
        if key in self._missing:
            raise NotFoundError(self._missing[key])
        if key in self._servers:
            self._servers[key].reset()
        else:
            self._servers[key] = self._first(key)
        return self._servers[key]

    def _first(self, key: str) -> Server:
        """Start a server. One that does not start is tried once, and not for each of its tests."""
        server = None
        try:
            server = make(key)
            server.reset()
        except Exception as error:
            self._missing[key] = str(error)
            if not isinstance(error, NotFoundError):
                self._missing[key] = f"{key} did not start, and is not tried again: {error!r}"
            if server:
                server.close()
            raise
        return server

    def close(self) -> None:
        """End every server and remove its data."""
        for server in self._servers.values():
            server.close()


@pytest.fixture(autouse=True)
def _companions_as_found() -> Iterator[None]:
    with companions_as_found():
        yield


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    pool = Servers()
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Servers) -> Server | None:
    """The test's broker, running and empty; None for the minibroker, which has no server."""
    marker = request.node.get_closest_marker("broker")
    assert marker, "a test that uses `server` is marked with its broker"
    key = marker.args[0]
    if key == "minibroker":
        return None
    found = emptied(servers, key)
    request.node.user_properties.append(("server", f"{found.version()} ({found.source.name})"))
    return found


@pytest.fixture
def addresses(server: Server | None, servers: Servers) -> Callable[[str], dict[str, str]]:
    """Return a function from a snippet's code to the addresses that it reads.

    They are those of the test's broker and of a database beside it, which is empty too.
    """

    def read_by(code: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for broker in addressed_in(code):
            ours = server is not None and server.broker.variable == broker.variable
            one = server if server and ours else emptied(servers, broker.key)
            found |= one.environment_of_clients
        return found

    return read_by


def emptied(servers: Servers, key: str) -> Server:
    """Return the server called `key`, running and empty, or skip the test."""
    try:
        return servers.empty(key)
    except (NotFoundError, NotOursError) as error:
        reason = str(error)
    if REQUIRED:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
