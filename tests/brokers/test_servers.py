"""The servers do what the proofs rely on, and nothing of them outlives its test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.brokers import SERVERS, NotFoundError, Server, debian, make
from tests.brokers.redis import Redis
from tests.brokers.server import RUN, Source, wait_until

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
    minimum = {
        "rabbitmq": (4, 0),
        "kafka": (4, 0),
        "nats": (2, 10),
        "redis": (8, 0),
        "mqtt": (2, 0, 20),
        "postgresql": (17,),
    }[key]
    numbers = server.version().split()[-1].split(".")
    assert tuple(map(int, numbers[: len(minimum)])) >= minimum


def test_a_server_that_dies_while_starting_shows_the_end_of_its_log() -> None:
    def broken(program: str, *arguments: str) -> list[str]:
        return debian.command(program, *arguments, "--no-such-option", "yes")

    server = Redis(Source("a broken command", broken))
    try:
        with pytest.raises(RuntimeError, match="no-such-option"):
            server.start()
    finally:
        server.close()
    assert not server.data.exists()


def test_a_missing_server_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HANDBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(Redis, "on_machine", classmethod(lambda _: False))
    with pytest.raises(NotFoundError, match="make servers"):
        make("redis")


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
    suite = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-p", "tests.conftest", *parallel, str(test)],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in (RUN, "BROKERS")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: up.exists() and up.read_text().endswith("\n"), "the server to be up")
    family = psutil.Process(suite.pid).children(recursive=True)
    assert any(member.name() == "redis-server" for member in family)
    suite.send_signal(number)
    suite.wait(timeout=90)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    if number != signal.SIGKILL:
        assert not Path(up.read_text().strip()).exists()
