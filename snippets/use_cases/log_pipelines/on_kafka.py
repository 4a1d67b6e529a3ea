# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Log pipeline on Kafka: batches, a bounded buffer, and losses counted."""

import asyncio
import re
import sys
from collections import Counter, deque
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from kafka_client import connect, consume, create_topics, in_time, run

LOGS = TopicPartition("logs", 0)
# Bytes that may wait, until a line of this level is dropped; usual: megabytes.
ROOM = {"ERROR": 40_000, "DEBUG": 32_000}
LONGEST = 10_000  # bytes of a line: Kafka refuses more than it is set to take
# Compressed as a whole, where lines are alike.
BATCHES: Any = {"compression_type": "gzip", "max_batch_size": 16_384}
BUDGET = {"ERROR": 0.0, "DEBUG": 0.01}  # the share that may be lost
LINE = re.compile(rb"(\S+ (?:ERROR|DEBUG)) (\d{1,15}) ")


class Buffer:
    """Between the program and Kafka: it never makes the program wait."""

    def __init__(self, sender: str) -> None:
        self.sender = sender  # Each start gives it something new.
        self.numbers: Counter[str] = Counter()
        self.lines: deque[bytes] = deque()
        self.bytes = 0  # Lines won't do: long ones fill the memory.

    def log(self, level: str, text: str) -> None:
        # A line that finds no room still takes a number: the gap will tell.
        self.numbers[level] += 1
        if self.bytes < ROOM[level]:
            head = f"{self.sender} {level} {self.numbers[level]}"
            line = f"{head} {text}".encode(errors="replace")[:LONGEST]
            self.lines.append(line)
            self.bytes += len(line)

    def forget(self, number: int) -> None:
        for _ in range(number):
            self.bytes -= len(self.lines.popleft())


async def keep_shipping(buffer: Buffer) -> None:
    """Ship for ever; after an error with a new producer, and no lost line."""
    while True:
        try:
            async with connect(**BATCHES) as producer:
                while True:
                    await ship(buffer, producer)
                    await asyncio.sleep(0.1)  # usual: 1
        # When the server has refused one batch, the same producer would get
        # OutOfOrderSequenceNumber for each that follows.
        except KafkaError as error:
            print(f"not shipped: {error!r}", file=sys.stderr)
            await asyncio.sleep(1)


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
        async with in_time("confirm of a batch"):
            await (await producer.send_batch(batch, LOGS.topic, partition=0))
        buffer.forget(size)  # A failed batch is sent again.
        batches += 1
    return batches


async def collect() -> tuple[dict[str, tuple[int, int]], list[bytes]]:
    """Read to the end; return how many lines came, and how many did not.

    What has no number is returned as well, for a person to look at.
    """
    others: list[bytes] = []
    last: Counter[str] = Counter()
    came: Counter[str] = Counter()
    async with consume(None, "reader", LOGS) as consumer:
        async for record in consumer.rest(LOGS):
            found = LINE.match(record.value or b"")
            if not found:
                others.append(record.value or b"")
                continue
            line, number = found[1].decode(errors="replace"), int(found[2])
            if number > last[line]:  # Else it came a second time.
                last[line] = number
                came[line] += 1
    counts = {line: (came[line], last[line] - came[line]) for line in last}
    return counts, others


async def declare() -> None:
    keep = {"retention.ms": str(3 * 24 * 3600 * 1000)}
    await create_topics(LOGS.topic, configs=keep)


async def main() -> None:
    await declare()
    buffer = Buffer("web-1/start-7")
    for number in range(1000):  # This burst is faster than it ships.
        buffer.log("DEBUG", f"GET /videos/{number} 200")
    for number in range(50):
        buffer.log("ERROR", f"transcoder {number} does not answer")
    async with connect(**BATCHES) as producer:
        print("batches:", await ship(buffer, producer))
        buffer.log("DEBUG", "idle")  # the next line shows the gap before it
        print("batches:", await ship(buffer, producer))
        # A program that does not use the buffer:
        await producer.send_and_wait(LOGS.topic, b"Traceback (most recent")
    counts, others = await collect()
    for line, (came, lost) in sorted(counts.items()):
        budget = BUDGET[line.split()[-1]]
        kept = "kept" if lost / (came + lost) <= budget else "exceeded"
        print(f"{line}: {came} came, {lost} lost, budget {kept}")
    print("no line of ours:", *others)


if __name__ == "__main__":
    run(main)
