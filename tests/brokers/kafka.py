"""Kafka as a child process: one node that is broker and controller at once (KRaft)."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.brokers import debian, kafka_features
from tests.brokers.server import Server, wait_until
from tests.brokers.versions import printed_by

T = TypeVar("T")
Question = Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, T]]

#: Everything internal at one partition and one replica: there is one node. A killed broker can't
#: register again before its session has ended. A shorter one also ends when the machine is busy:
#: then the controller finds no broker for a new topic, and a group is loaded anew.
CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}/log
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.share.heartbeat.interval.ms=500
group.share.min.heartbeat.interval.ms=500
group.share.min.record.lock.duration.ms=1000
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=6000
"""

LOGGING = """\
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m%n
"""


class Kafka(Server):
    """Kafka 4 or later, on the Java that is beside its jars."""

    key = "kafka"

    @classmethod
    def on_machine(cls) -> bool:
        return cls.taught(_version(_machine_jars())) and bool(printed_by("java", "-version"))

    @classmethod
    def in_folder(cls) -> bool:
        return debian.has("java") and bool(_version(debian.kafka_jars()))

    def prepare(self) -> None:
        blank = self._beside("blank")
        if not blank.exists():
            self._format()
            shutil.copytree(self.data, blank)
        shutil.copytree(blank, self.data, dirs_exist_ok=True)

    def _format(self) -> None:
        self.port_number = self.port(9092)
        self.controller = self.port(9093)
        self.configuration = self.data / "server.properties"
        self.configuration.write_text(
            CONFIGURATION.format(port=self.port_number, controller=self.controller, data=self.data)
        )
        (self.data / "log4j2.properties").write_text(LOGGING)
        subprocess.run(
            self._java(
                "kafka.tools.StorageTool",
                *("format", "--standalone", "-t", "kafka-of-the-handbook1"),
                *("-c", str(self.configuration)),
            ),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _java(self, *arguments: str) -> list[str]:
        jars = "/opt/kafka" if self.source.generation else str(_machine_jars())
        return self.source.command(
            "java",
            *("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            f"-Dlog4j2.configurationFile={self.data}/log4j2.properties",
            *("-cp", f"{jars}/*"),
            *arguments,
        )

    def command(self) -> list[str]:
        # With the archive of loaded classes that its first end leaves, it starts in half the time.
        shared = self._archive()
        archive = [f"-XX:SharedArchiveFile={shared}"]
        if not shared.exists():
            archive = [
                "-XX:+AutoCreateSharedArchive",
                f"-XX:SharedArchiveFile={self._beside('jsa')}",
            ]
        return self._java(
            *("-XX:+IgnoreUnrecognizedVMOptions", *archive, "-Xlog:cds=off"),
            *("kafka.Kafka", str(self.configuration)),
        )

    def _archive(self) -> Path:
        """Return where the servers of one run share an archive of this version's classes."""
        return self.data.with_name(f"{self.version().replace(' ', '-')}.jsa")

    def restart_on_nothing(self) -> None:
        if not self._archive().exists():
            self.stop()  # kill -9 would leave no archive
            with suppress(FileNotFoundError):  # a Java that knows none
                self._beside("jsa").replace(self._archive())
        super().restart_on_nothing()

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._beside("blank"), ignore_errors=True)
        self._beside("jsa").unlink(missing_ok=True)

    def _beside(self, what: str) -> Path:
        return self.data.with_name(f"{self.data.name}.{what}")

    def ready(self) -> bool:
        try:
            _run(ask(self.address, _topics, seconds=0, answer_within=3))
        except (KafkaError, OSError):
            return False
        return True

    def own_address(self) -> str:
        return f"127.0.0.1:{self.port_number}"

    def version(self) -> str:
        if self.given:
            return "Kafka"
        of = self.source.generation
        return f"Kafka {_version(debian.kafka_jars(of) if of else _machine_jars())}"

    def topics(self) -> list[str]:
        """Return the names of the topics that clients have made."""
        return self._ask(_topics)

    def groups(self) -> list[str]:
        """Return the names of the consumer groups that the server knows."""
        return self._ask(_groups)

    def committed(self, group: str) -> list[tuple[int, str]]:
        """Return all that the server keeps for a group: offsets, with a text of the client's."""

        async def committed(admin: AIOKafkaAdminClient) -> list[tuple[int, str]]:
            found = await admin.list_consumer_group_offsets(group)
            return [(place.offset, place.metadata) for place in found.values() if place.offset >= 0]

        return self._ask(committed)

    def delete(self, topics: list[str]) -> None:
        """Delete topics; return when they are gone."""

        async def delete(admin: AIOKafkaAdminClient) -> None:
            if set(topics) & set(await _topics(admin)):
                await admin.delete_topics(topics)

        self._ask(delete)
        wait_until(lambda: not set(topics) & set(self.topics()), "Kafka to delete the topics")

    def finalise(self, *, kind: int = kafka_features.UPGRADE, **levels: int) -> str | None:
        """Set what the cluster may use, as `metadata_version=33`; return why it is refused."""
        dotted = {feature.replace("_", "."): level for feature, level in levels.items()}
        return self._ask(lambda admin: kafka_features.finalise(admin, dotted, kind))

    def _ask(self, question: Question[T]) -> T:
        return _run(ask(self.address, question))

    def empty(self) -> None:
        # A group outlives its members for seconds, and its offsets outlive a topic's deletion. To
        # delete both takes a fiftieth of the work of a start; but once, after kill -9, a topic that
        # was made anew was found without its records.
        if not self.given and (self.topics() or self.groups()):
            self.restart_on_nothing()
        elif topics := self.topics():
            self.delete(topics)


async def ask(
    address: str, question: Question[T], *, seconds: float = 60, answer_within: float = 30
) -> T:
    """Ask a server as its administrator, again and again for so long, until it answers.

    A node that a busy machine lets wait for longer than its session is out of its own cluster
    until its next heartbeat: it accepts connections, and says that there is no broker.
    """
    # The client logs every refused connection of a server that is starting.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    deadline = time.monotonic() + seconds
    while True:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=address, request_timeout_ms=int(1000 * answer_within)
        )
        try:
            await admin.start()
            return await question(admin)
        except KafkaError:
            if time.monotonic() > deadline:
                raise
        finally:
            await admin.close()
        await asyncio.sleep(0.1)


async def _topics(admin: AIOKafkaAdminClient) -> list[str]:
    return [name for name in await admin.list_topics() if not name.startswith("__")]


async def _groups(admin: AIOKafkaAdminClient) -> list[str]:
    await admin.list_topics()  # fails if there is no broker: the groups of none are an empty list
    return [name for name, _ in await admin.list_consumer_groups()]


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread: the caller's may have an event loop, as under Playwright."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _machine_jars() -> Path:
    script = shutil.which("kafka-server-start.sh") or shutil.which("kafka-server-start")
    return Path(script).resolve().parents[1] / "libs" if script else Path("none")


def _version(jars: Path) -> str:
    for jar in jars.glob("kafka-clients-*.jar"):
        found = re.search(r"-(\d[\d.]*\d)\.jar$", jar.name)
        if found:
            return found[1]
    return ""
