# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Log pipeline on Kafka: batches, a bounded buffer, and losses counted."""

import asyncio
import os
import re
from collections import Counter, deque

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
LOGS = TopicPartition("logs", 0)
ROOM = {"ERROR": 1000, "DEBUG": 800}  # lines that may wait, of each level
BUDGET = {"ERROR": 0.0, "DEBUG": 0.01}  # the share that may be lost
LINE = re.compile(rb"(\S+ (?:ERROR|DEBUG)) (\d{1,15}) ")
DAY = 24 * 3600 * 1000


class Buffer:
    """Between the program and Kafka: it never makes the program wait."""

    def __init__(self, sender: str) -> None:
        self.sender = sender  # with something that is new at each start
        self.numbers: Counter[str] = Counter()
        self.lines: deque[bytes] = deque()

    def log(self, level: str, text: str) -> None:
        # A line that finds no room still takes a number: the gap will tell.
        self.numbers[level] += 1
        if len(self.lines) < ROOM[level]:
            head = f"{self.sender} {level} {self.numbers[level]}"
            self.lines.append(f"{head} {text}".encode())


async def ship(buffer: Buffer, producer: AIOKafkaProducer) -> int:
    """Send all that waits, in batches as large as they may be."""
    batches = 0
    while buffer.lines:
        batch = producer.create_batch()
        size = 0
        for line in buffer.lines:
            if not batch.append(key=None, value=line, timestamp=None):
                break
            size += 1
        confirm = await producer.send_batch(
            batch, LOGS.topic, partition=LOGS.partition
        )
        await confirm
        for _ in range(size):  # not before: a failed batch is sent again
            buffer.lines.popleft()
        batches += 1
    return batches


async def collect(
    consumer: AIOKafkaConsumer,
) -> tuple[dict[str, tuple[int, int]], list[bytes]]:
    """Read to the end; return how many lines came, and how many did not.

    What has no number is returned as well, for a person to look at.
    """
    others: list[bytes] = []
    last: Counter[str] = Counter()
    came: Counter[str] = Counter()
    end = (await consumer.end_offsets([LOGS]))[LOGS]
    while await consumer.position(LOGS) < end:
        for record in (await consumer.getmany(timeout_ms=500)).get(LOGS, []):
            found = LINE.match(record.value or b"")
            if not found:
                others.append(record.value or b"")
                continue
            line, number = found[1].decode(errors="replace"), int(found[2])
            if number > last[line]:  # else: it came a second time
                last[line] = number
                came[line] += 1
    counts = {line: (came[line], last[line] - came[line]) for line in last}
    return counts, others


async def declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        topic = NewTopic(
            LOGS.topic,
            num_partitions=1,
            replication_factor=1,  # on a cluster 3, min.insync.replicas=2
            topic_configs={"retention.ms": str(3 * DAY)},
        )
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def main() -> None:
    await declare()
    buffer = Buffer("web-1/start-7")
    for number in range(1000):  # a burst, faster than anything is shipped
        buffer.log("DEBUG", f"GET /videos/{number} 200")
    for number in range(50):
        buffer.log("ERROR", f"transcoder {number} does not answer")
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        acks="all",
        enable_idempotence=True,  # a retry writes no line twice
        compression_type="gzip",  # of a whole batch, where lines are alike
        max_batch_size=16_384,
    ) as producer:
        print("batches:", await ship(buffer, producer))
        buffer.log("DEBUG", "idle")  # the next line shows the gap before it
        print("batches:", await ship(buffer, producer))
        # A program that does not use the buffer:
        await producer.send_and_wait(LOGS.topic, b"Traceback (most recent")

    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP)
    consumer.assign([LOGS])
    async with consumer:
        await consumer.seek_to_beginning(LOGS)
        counts, others = await collect(consumer)
        for line, (came, lost) in sorted(counts.items()):
            budget = BUDGET[line.split()[-1]]
            kept = "kept" if lost / (came + lost) <= budget else "exceeded"
            print(f"{line}: {came} came, {lost} lost, budget {kept}")
        print("no line of ours:", *others)


if __name__ == "__main__":
    asyncio.run(main())
