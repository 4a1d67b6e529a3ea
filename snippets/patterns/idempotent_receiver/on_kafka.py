# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on Kafka: a view counts once, however often sent."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from psycopg import AsyncConnection

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
VIEWS = TopicPartition("views", 0)
ID = "message-id"
DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
DATABASE = os.environ.get("DATABASE_URL", DEFAULT)
VIEWED = re.compile(rb"viewed ([\w.-]{1,100})")  # nothing else is let in

CREATE = """
CREATE TABLE IF NOT EXISTS inbox (
    id uuid PRIMARY KEY, received timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS views (
    video text PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    message text NOT NULL, received timestamptz NOT NULL DEFAULT now())"""
REMEMBER = "INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (%s, 1)
ON CONFLICT (video) DO UPDATE SET count = views.count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (%s)"

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3, and set
        # min.insync.replicas=2, or acks="all" may mean the leader alone.
        topic = NewTopic(VIEWS.topic, num_partitions=1, replication_factor=1)
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def publish(events: Sequence[tuple[str, str]]) -> None:
    # Idempotence drops what this producer sends again by itself, and no more.
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        confirms = [
            await producer.send(
                VIEWS.topic,
                event.encode(),
                partition=VIEWS.partition,
                headers=[(ID, message_id.encode())],
            )
            for message_id, event in events
        ]
        await asyncio.gather(*confirms)


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with (
        AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP,
            client_id=receiver,
            group_id="counter",
            auto_offset_reset="earliest",
            enable_auto_commit=False,  # it commits what is not counted yet
        ) as consumer,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        # By hand: a second receiver gets every view as well, as two of a
        # group do when the first was thought dead and is not.
        consumer.assign([VIEWS])
        done = 0
        while limit is None or done < limit:
            record = await consumer.getone()
            named = dict(record.headers).get(ID) or b""
            message_id = named.decode("ascii", "replace")
            what = await _once(db, message_id, record.value or b"")
            await db.commit()  # the view and its id, or neither
            await handle(what)
            # After the other commit: a crash in between repeats, not loses.
            await consumer.commit({VIEWS: record.offset + 1})
            done += 1


async def _once(db: AsyncConnection, message_id: str, body: bytes) -> str:
    """Count a view and remember its id; the caller commits both, or none."""
    try:
        number, view = UUID(message_id), VIEWED.fullmatch(body)
    except ValueError:
        view = None
    if not view:  # it would fail each time: keep it, and go on
        await db.execute(REFUSE, [f"{body!r}, id {message_id!r}"])
        return f"refused a message with id {message_id!r}"
    # Another receiver that has just inserted this id makes us wait for it.
    new = await db.execute(REMEMBER, [number])
    if not new.rowcount:
        return f"dropped a duplicate view of {view[1].decode()}"
    await db.execute(COUNT, [view[1].decode()])
    return f"counted a view of {view[1].decode()}"


async def views() -> dict[str, int]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT video, count FROM views")
        return {row[0]: row[1] for row in await rows.fetchall()}


async def refused() -> list[str]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT message FROM refused ORDER BY 1")
        return [row[0] for row in await rows.fetchall()]


async def main() -> None:
    await declare()
    # Made once, before the first try: a retry has to send the same id.
    view = str(uuid4()), "viewed cat.mp4"
    await publish([view, view])  # its confirm got lost: tried again

    async def crash(what: str) -> None:
        raise RuntimeError(what)

    try:
        await receive("A", crash)
    except RuntimeError as error:
        print(f"A {error}, and crashed before it acknowledged")

    async def show(what: str) -> None:
        print(f"A {what}")

    await receive("A", show, limit=2)
    await publish([("17", "viewed cat.mp4"), (str(uuid4()), "viewed cat.mp4")])
    await receive("A", show, limit=2)
    print(f"views: {await views()}, refused: {len(await refused())}")


if __name__ == "__main__":
    asyncio.run(main())
