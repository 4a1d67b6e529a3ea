"""Kafka: who has to have a record before it is confirmed, and whether it has to be on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import NotEnoughReplicasError

from tests.atlas.asked import QUEUE, Asked, Setting
from tests.atlas.load import RefusedError
from tests.brokers.cluster.kafka import BOOTSTRAP, KafkaCluster
from tests.brokers.cluster.machines import Machine

PLACE = TopicPartition(QUEUE, 0)


class KafkaConnection:
    """A producer, which finds the leader by itself."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def publish(self, message: int) -> None:
        try:
            await self._producer.send_and_wait(QUEUE, b"%d" % message, partition=0)
        except NotEnoughReplicasError:
            raise RefusedError("NotEnoughReplicas") from None

    async def close(self) -> None:
        await self._producer.stop()


class AskedKafka(Asked):
    """Kafka: `acks` is the producer's; the others are the topic's configuration."""

    key = "kafka"
    client = "aiokafka"
    settings = (
        Setting("acks-1", "`acks=1`, `min.insync.replicas=1`", default=True),
        Setting("acks-all", "`acks=all`, `min.insync.replicas=2`"),
        Setting("flush", "`acks=all`, `min.insync.replicas=2`, `flush.messages=1`", safe=True),
    )
    stays = True
    by_hand: ClassVar = {
        "node-replaced": "The operator formats the empty disk"
        " (`kafka-storage.sh format --no-initial-controllers`) and starts the server. Its"
        " controller takes the place of the lost one by itself, with"
        " `controller.quorum.auto.join.enable=true`.",
    }
    cluster: KafkaCluster

    def make(self, machines: Mapping[int, Machine]) -> KafkaCluster:
        return KafkaCluster(machines)

    async def declare(self) -> None:
        configuration = {"min_insync_replicas": "1" if self.setting == "acks-1" else "2"}
        if self.setting == "flush":
            configuration["flush_messages"] = "1"
        await self.cluster.create(QUEUE, **configuration)

    async def connect(self, number: int) -> KafkaConnection:  # noqa: ARG002 - it asks all three
        all_replicas = self.setting != "acks-1"
        producer = AIOKafkaProducer(
            bootstrap_servers=BOOTSTRAP,
            acks="all" if all_replicas else 1,
            enable_idempotence=all_replicas,
            # A record that waits for a leader for longer is given up.
            request_timeout_ms=10_000,
            metadata_max_age_ms=5_000,
        )
        await producer.start()
        return KafkaConnection(producer)

    async def read(self) -> list[int]:
        end = await self._end()
        consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([PLACE])
            found: list[int] = []
            while await consumer.position(PLACE) <= end:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    found += [int(record.value) for record in records if record.offset < end]
            return found
        finally:
            await consumer.stop()

    @staticmethod
    async def _end() -> int:
        """Write one more record, and return its place when all replicas have it.

        A leader that has just started shows consumers less than it has, until the others have
        fetched from it. When it confirms this record, it shows all that stands before.
        """
        producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all")
        await producer.start()
        try:
            return int((await producer.send_and_wait(QUEUE, b"end", partition=0)).offset)
        finally:
            await producer.stop()
