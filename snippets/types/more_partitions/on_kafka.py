# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""What happens to the order of one key when a topic gets more partitions."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from kafka_client import BOOTSTRAP, run

TOPIC = "videos"
KEYS = ("cat", "dog", "owl", "fox", "elk", "hen")


async def publish(event: str) -> dict[str, int]:
    """Publish the event for each video; return the partitions it went to."""
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        return {
            key: (
                await producer.send_and_wait(
                    TOPIC, event.encode(), key=key.encode()
                )
            ).partition
            for key in KEYS
        }


async def main() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 4, replication_factor=1)])
        before = await publish("uploaded")
        await admin.create_partitions({TOPIC: NewPartitions(6)})
        [found] = await admin.describe_topics([TOPIC])
        while len(found["partitions"]) < 6:  # brokers hear of it later
            await asyncio.sleep(0.1)
            [found] = await admin.describe_topics([TOPIC])
        after = await publish("deleted")
    finally:
        await admin.close()
    for key in KEYS:
        moved = "" if before[key] == after[key] else "  order lost"
        print(
            f"{key}: uploaded in {before[key]}, deleted in {after[key]}{moved}"
        )


if __name__ == "__main__":
    run(main)
