"""The servers do what the proofs rely on, and nothing of them outlives its test."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from tests.brokers import SERVERS, NotFoundError, NotOursError, Server, make
from tests.brokers.redis import Redis
from tests.brokers.server import ADDRESS, MACHINE, RUN, Source, newer, wait_until
from tests.conftest import Servers
from tests.snippets.running import clean_environment

ROOT = Path(__file__).parents[2]

every_broker = pytest.mark.parametrize(
    "key", [pytest.param(key, marks=pytest.mark.broker(key)) for key in SERVERS]
)


@every_broker
def test_kill_freeze_restart(key: str, server: Server) -> None:
    assert server.key == key
    assert server.ready()
    server.freeze()
    assert not server.ready()
    server.thaw()
    wait_until(server.ready, "the thawed server to answer")
    for end in (server.kill, server.stop):
        end()
        assert not server.running
        assert not server.ready()
        server.start()
        assert server.ready()


@every_broker
def test_version_is_one_the_handbook_teaches(key: str, server: Server) -> None:
    version = server.version()
    if server.given and not newer(version.split()[-1], (1,)):
        pytest.skip(f"{version} does not say its version to a client")
    assert SERVERS[key].taught(version.split()[-1])


def test_a_server_that_dies_while_starting_shows_the_end_of_its_log() -> None:
    def broken(*_: str) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no-such-option')"]

    server = Redis(Source("a broken command", broken))
    try:
        with pytest.raises(RuntimeError, match="no-such-option"):
            server.start()
    finally:
        server.close()
    assert not server.data.exists()


def test_a_missing_server_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("HANDBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(Redis, "on_machine", classmethod(lambda _: False))
    with pytest.raises(NotFoundError, match="make servers"):
        make("redis")


@pytest.mark.broker(Redis.key)
def test_a_server_given_by_its_address_is_erased_only_on_consent(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", server.address)
    given = make(Redis.key)
    try:
        with redis.Redis(port=server.port_number) as client:
            client.set("precious", "yes")
            monkeypatch.setenv("ERASE", "")
            with pytest.raises(NotFoundError, match="ERASE=yes"):
                given.reset()
            assert client.get("precious")
            monkeypatch.setenv("ERASE", "yes")
            given.reset()
            assert not client.get("precious")
        with pytest.raises(NotOursError, match="not ours"):
            given.kill()
        server.kill()
        with pytest.raises(NotFoundError, match="no Redis Streams answers there"):
            given.reset()
    finally:
        given.close()


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("redis://broker:7000/0", ("broker", 7000)),
        ("redis://broker", ("broker", 6379)),
        ("one:7001,two:7002", ("one", 7001)),
    ],
)
def test_an_address_names_a_host_and_perhaps_a_port(address: str, place: tuple[str, int]) -> None:
    given = Redis(ADDRESS, given=address)
    given.close()
    assert (given.host, given.port_number) == place


def test_an_address_that_makes_no_sense_is_named() -> None:
    with pytest.raises(NotFoundError, match="REDIS_URL is redis://broker:port"):
        Redis(ADDRESS, given="redis://broker:port")


def test_a_default_port_that_another_program_has_is_not_taken_for_the_servers_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        class Elsewhere(Redis):
            def prepare(self) -> None:
                self.port_number = self.port(port)

        with pytest.raises(RuntimeError, match=f"port {port} is taken"):
            Elsewhere(MACHINE, default_ports=True)


@pytest.mark.broker(Redis.key)
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("parallel", [[], ["-n2"]], ids=["alone", "parallel"])
def test_no_process_outlives_an_interrupted_suite(
    number: signal.Signals, parallel: list[str], tmp_path: Path
) -> None:
    up = tmp_path / "up"
    test = tmp_path / "test_endless.py"
    test.write_text(
        "import time\n"
        "import pytest\n"
        "@pytest.mark.broker('redis')\n"
        "def test_endless(server):\n"
        f"    open({str(up)!r}, 'w').write(str(server.data) + chr(10))\n"
        "    time.sleep(60)\n"
    )
    own = clean_environment({})
    suite = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-p", "tests.conftest", *parallel, str(test)],
        cwd=ROOT,
        env={key: own[key] for key in own if key not in (RUN, "BROKERS")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: up.exists() and up.read_text().endswith("\n"), "the server to be up", 90)
        family = psutil.Process(suite.pid).children(recursive=True)
        assert any(member.name() == "redis-server" for member in family)
        suite.send_signal(number)
        suite.wait(timeout=90)
    finally:
        suite.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    if number != signal.SIGKILL:
        assert not Path(up.read_text().strip()).exists()


def test_a_server_that_does_not_start_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each of its tests: that took minutes, and said the same each time."""
    tried: list[str] = []

    class Dead:
        def reset(self) -> None:
            raise TimeoutError("redis is not ready after 90 s")

        def close(self) -> None:
            tried.append("closed")

    def made(key: str) -> Dead:
        tried.append(key)
        return Dead()

    monkeypatch.setattr("tests.conftest.make", made)
    pool = Servers()
    with pytest.raises(TimeoutError):
        pool.empty("redis")
    with pytest.raises(NotFoundError, match=r"not tried again.*not ready after 90 s"):
        pool.empty("redis")
    assert tried == ["redis", "closed"]
