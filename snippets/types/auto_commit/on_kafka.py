# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Kafka's auto-commit says that a task is done when it was only handed out."""

from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from kafka_client import BOOTSTRAP, run

TOPIC = "transcode"


async def submit() -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        for task in ("cat.mp4", "dog.mp4"):
            await producer.send_and_wait(TOPIC, task.encode(), partition=0)


async def first_task(group: str, auto_commit: bool, fails: bool) -> None:
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BOOTSTRAP,
        group_id=group,
        enable_auto_commit=auto_commit,  # True is the default
        auto_offset_reset="earliest",
        max_poll_records=1,
    )
    async with consumer:
        record = await consumer.getone()
        if fails:
            print(f"  {record.value.decode()} begun, and the worker fails")
            raise RuntimeError("no space left on device")
        await consumer.commit()
        print(f"  the next worker gets {record.value.decode()}")


async def main() -> None:
    await submit()
    for auto_commit in (True, False):
        group = f"auto-commit-{auto_commit}"
        print(f"enable_auto_commit={auto_commit}")
        # On its way out, stop() commits how far the worker has *read*.
        with suppress(RuntimeError):
            await first_task(group, auto_commit, fails=True)
        await first_task(group, auto_commit, fails=False)


if __name__ == "__main__":
    run(main)
