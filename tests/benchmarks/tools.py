"""The brokers' own benchmark tools: how fast each says that it publishes, waiting for confirms.

redis-benchmark, pgbench and mosquitto_pub are in the folder of servers. The others are fetched
once, into the same cache: RabbitMQ's and Kafka's by Maven, NATS's by Go.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.measure import BODY
from tests.brokers import Server, debian

POM = Path(__file__).with_name("tools.xml")
NATSCLI = "github.com/nats-io/natscli/nats@v0.5.1"
QUIET = '<configuration><root level="OFF"/></configuration>\n'
NAME = "tool"

#: From a server, how many messages and the window, to messages a second.
Tool = Callable[[Server, int, int], float]


class MissingError(Exception):
    """The tool can't be had here; the text says why."""


def _folder() -> Path:
    folder = debian.cache() / "benchmark-tools"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _jars() -> str:
    jars = _folder() / "jars"
    if not jars.exists():
        _fetch("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
               "-DincludeScope=runtime", f"-DoutputDirectory={jars}")  # fmt: skip
    return f"{jars}/*"


def _nats() -> str:
    program = _folder() / "nats"
    if not program.exists():
        _fetch("go", "install", NATSCLI, GOBIN=str(_folder()))
    return str(program)


def _fetch(program: str, *arguments: str, **environment: str) -> None:
    if not shutil.which(program):
        raise MissingError(f"{program} is not on this machine")
    run = subprocess.run(
        [program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise MissingError(f"{program} could not fetch it: {run.stderr[-300:]}")


def _printed(command: list[str], stdin: bytes = b"") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
    said = (done.stdout + done.stderr).decode()
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {said[-2000:]}")
    return said


def _number(pattern: str, said: str) -> float:
    found = re.findall(pattern, said)
    if not found:
        raise RuntimeError(f"no {pattern!r} in {said[-2000:]}")
    return float(found[-1].replace(",", ""))


def perf_test(server: Server, count: int, window: int) -> float:
    """RabbitMQ's PerfTest: one publisher to a quorum queue, persistent, with confirms."""
    said = _printed(
        [
            *("java", "-cp", _jars(), "com.rabbitmq.perf.PerfTest"),
            *("-h", server.address.rstrip("/"), "-x", "1", "-y", "0", "-u", NAME),
            *("--quorum-queue", "-s", str(len(BODY)), "-c", str(window), "-C", str(count)),
            *("--flag", "persistent", "--flag", "mandatory"),
        ]
    )
    return _number(r"sending rate avg: ([\d.,]+) msg/s", said)


def producer_performance(server: Server, count: int, _: int) -> float:
    """Kafka's ProducerPerformance with acks=all; the client decides what is in flight."""
    logging = server.data / "logback.xml"
    logging.write_text(QUIET)
    said = _printed(
        [
            *("java", f"-Dlogback.configurationFile={logging}", "-cp", _jars()),
            *("org.apache.kafka.tools.ProducerPerformance", "--topic", NAME),
            *("--num-records", str(count), "--record-size", str(len(BODY))),
            *("--throughput", "-1", "--producer-props"),
            *(f"bootstrap.servers={server.address}", "acks=all"),
        ]
    )
    return _number(r"records sent, ([\d.]+) records/sec", said)


def nats_bench(server: Server, count: int, window: int) -> float:
    """`nats bench js pub async`: one publisher, a stream in files."""
    said = _printed(
        [
            *(_nats(), "bench", "js", "pub", "async", NAME, "-s", server.address),
            *("--create", "--stream", NAME, "--storage", "file", "--batch", str(window)),
            *("--msgs", str(count), "--size", str(len(BODY)), "--no-progress"),
        ]
    )
    return _number(r"publisher stats: ([\d,]+) msgs/sec", said)


def redis_benchmark(server: Server, count: int, window: int) -> float:
    """redis-benchmark: XADD on one connection, as many in a pipeline as the window has."""
    said = _printed(
        server.source.command(
            *("redis-benchmark", "-p", server.address.split(":")[-1].split("/")[0]),
            *("-n", str(count), "-c", "1", "-P", str(window), "--csv"),
            *("XADD", NAME, "*", "task", BODY.decode()),
        )
    )
    return _number(r'x","([\d.]+)"', said)


def mosquitto_pub(server: Server, count: int, _: int) -> float:
    """mosquitto_pub, a message for each line: no benchmark, but all that Mosquitto brings."""
    command = server.source.command(
        *("mosquitto_pub", "-V", "5", "-p", server.address.split(":")[-1]),
        *("-q", "1", "-t", NAME, "-l"),
    )
    start = time.perf_counter()
    _printed(command, (BODY + b"\n") * count)
    return count / (time.perf_counter() - start)


def pgbench(server: Server, count: int, window: int) -> float:
    """pgbench: one connection, in each transaction as many rows as the window has."""
    script = server.data / "window.sql"
    insert = f"INSERT INTO {NAME} (body) VALUES ('{BODY.decode()}');\n"
    script.write_text(f"BEGIN;\n\\startpipeline\n{insert * window}\\endpipeline\nCOMMIT;\n")
    columns = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL"
    create = f"CREATE TABLE IF NOT EXISTS {NAME} ({columns})"
    _printed(server.source.command("psql", "-q", "-c", create, server.address))
    said = _printed(
        server.source.command(
            *("pgbench", "-n", "-M", "prepared", "-c", "1", "-t", str(count // window)),
            *("-f", str(script), server.address),
        )
    )
    return window * _number(r"tps = ([\d.]+)", said)


TOOLS: dict[str, tuple[str, Tool]] = {
    "rabbitmq": ("PerfTest 2.22.1", perf_test),
    "kafka": ("ProducerPerformance 4.3.0", producer_performance),
    "nats": ("nats bench 0.5.1", nats_bench),
    "redis": ("redis-benchmark", redis_benchmark),
    "mqtt": ("mosquitto_pub", mosquitto_pub),
    "postgresql": ("pgbench", pgbench),
}
