# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""A Kafka consumer that works too long loses its partition while it works."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError

from kafka_client import BOOTSTRAP, run

PLACE = TopicPartition("transcode", 0)


def consumer(name: str, longest_task: int) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        PLACE.topic,
        bootstrap_servers=BOOTSTRAP,
        client_id=name,
        group_id="transcoders",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_interval_ms=longest_task,  # usual: 300_000, five minutes
        heartbeat_interval_ms=200,  # A rebalance is noticed as soon, too.
    )


async def main() -> None:
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP) as producer:
        await producer.send_and_wait(PLACE.topic, b"cat.mp4", partition=0)

    async with consumer("A", longest_task=1_000) as first:
        record = await first.getone()
        print(f"A begins {record.value.decode()}, and goes on for too long")
        async with consumer("B", longest_task=300_000) as second:
            # A lives and sends heartbeats, but it does not ask for more.
            again = await second.getone()
            print(f"B begins {again.value.decode()}, while A is still at it")
            try:
                await first.commit({PLACE: record.offset + 1})
            except CommitFailedError as error:
                print(f"A is done and commits: {type(error).__name__}")
            await second.commit({PLACE: again.offset + 1})
            print("B is done and commits: the task was done twice")


if __name__ == "__main__":
    run(main)
