"""Kafka: three nodes, each broker and controller at once (KRaft), everything in three replicas."""

from __future__ import annotations

import asyncio
import base64
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.machines import NUMBERS, SERVERS, Machine, address
from tests.brokers.kafka import LOGGING, Question, T, ask

BOOTSTRAP = ",".join(f"{address(number)}:9092" for number in NUMBERS)
CLUSTER = "kafka-of-the-handbook1"
CONFIGURATION = """\
process.roles=broker,controller
node.id={number}
controller.quorum.bootstrap.servers={controllers}
controller.quorum.auto.join.enable=true
listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093
advertised.listeners=PLAINTEXT://{address}:9092,CONTROLLER://{address}:9093
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}/log
offsets.topic.num.partitions=1
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
group.initial.rebalance.delay.ms=0
"""


class KafkaCluster(Cluster):
    """Three nodes; topics have one partition and a replica on each."""

    key = "kafka"

    def __init__(self, machines: Mapping[int, Machine]) -> None:
        super().__init__(machines)
        self.topics: list[str] = []

    async def start(self) -> None:
        for machine in self.machines.values():
            self._configure(machine)
        self._format()
        for machine in self.machines.values():
            properties = str(machine.data / "server.properties")
            machine.add("kafka", *_java(machine.data, "kafka.Kafka", properties))
            machine.start()
        await self.whole()

    @staticmethod
    def _configure(machine: Machine) -> None:
        (machine.data / "log4j2.properties").write_text(LOGGING)
        (machine.data / "server.properties").write_text(
            CONFIGURATION.format(
                number=machine.number,
                controllers=",".join(f"{address(n)}:9093" for n in NUMBERS),
                address=machine.address,
                data=machine.data,
            )
        )

    async def replace(self, number: int) -> None:
        """Format its empty disk: the new controller takes the place of the old one by itself."""
        machine = self.machines[number]
        self._configure(machine)
        await asyncio.to_thread(
            machine.run,
            *_java(machine.data, "kafka.tools.StorageTool", "format", "-t", CLUSTER),
            *("--no-initial-controllers", "-c", str(machine.data / "server.properties")),
        )
        machine.start()

    def _format(self) -> None:
        """Give each node the same cluster and the same three voters.

        Kafka's tool takes seconds. What it makes differs between nodes in two identifiers only.
        """
        # An identifier must not begin with "-".
        ids = {
            n: "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22] for n in NUMBERS
        }
        voters = ",".join(f"{n}@{address(n)}:9093:{ids[n]}" for n in NUMBERS)
        first, *others = self.machines.values()
        first.run(
            *_java(first.data, "kafka.tools.StorageTool", "format", "-t", CLUSTER),
            *("--initial-controllers", voters),
            *("-c", str(first.data / "server.properties")),
        )
        for machine in others:
            for file in (first.data / "log").rglob("*"):
                copy = machine.data / file.relative_to(first.data)
                copy.parent.mkdir(parents=True, exist_ok=True)
                if file.is_file():
                    copy.write_bytes(file.read_bytes())
            meta = machine.data / "log" / "meta.properties"
            text = meta.read_text().replace(ids[first.number], ids[machine.number])
            meta.write_text(text.replace(f"node.id={first.number}", f"node.id={machine.number}"))

    async def create(self, topic: str, **configuration: str) -> None:
        """Make a topic; return when its replicas are in step."""
        new = NewTopic(
            name=topic,
            num_partitions=1,
            replication_factor=len(NUMBERS),
            topic_configs={key.replace("_", "."): value for key, value in configuration.items()},
        )

        async def made() -> bool:
            answer = await _ask(lambda admin: admin.create_topics([new]))
            existed, fine = 36, 0
            return {error[1] for error in answer.topic_errors} <= {fine, existed}

        await until(made, f"Kafka to make {topic}")
        self.topics.append(topic)
        await self.whole()

    async def whole(self) -> None:
        async def ready() -> bool:
            cluster = await _ask(AIOKafkaAdminClient.describe_cluster)
            if len(cluster["brokers"]) < len(NUMBERS):
                return False
            if not self.topics:
                return True
            topics = await _ask(lambda admin: admin.describe_topics(self.topics))
            return all(len(topic["partitions"][0]["isr"]) == len(NUMBERS) for topic in topics)

        await until(ready, "Kafka's three brokers, with all replicas in sync")

    async def leader(self, queue: str) -> int:
        async def found() -> int:
            (topic,) = await _ask(lambda admin: admin.describe_topics([queue]))
            leader = int(topic["partitions"][0]["leader"])
            return max(leader, 0)  # -1 is nobody

        return await until(found, f"Kafka to have a leader of {queue}")

    async def version(self) -> str:
        (jar,) = (SERVERS / "opt" / "kafka").glob("kafka-clients-*.jar")
        found = re.search(r"-(\d[\d.]*\d)\.jar$", jar.name)
        assert found
        return f"Kafka {found[1]}"


def _java(data: Path, *arguments: str) -> list[str]:
    return [
        *("java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
        f"-Dlog4j2.configurationFile={data}/log4j2.properties",
        *("-cp", "/opt/kafka/*"),
        *arguments,
    ]


async def _ask(question: Question[T]) -> T:
    return await ask(BOOTSTRAP, question, seconds=0, answer_within=8)
