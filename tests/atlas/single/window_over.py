"""The same message comes again when the broker's memory of it is over"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import ServiceUnavailableError
from redis.exceptions import ResponseError

from tests.atlas.single import with_kafka, with_mqtt, with_nats, with_redis
from tests.atlas.single.trial import Documented, Numbers, cannot, trial
from tests.atlas.single.with_postgresql import connect
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.server import wait_until

ASKED = "window-over"
ID = "5f0c1a52-6e1f-4f6e-9a55-2d1c9e1d7a01"
TWICE, REFUSED = "twice", "refused"

cannot(
    ASKED,
    "rabbitmq",
    "A queue has no memory of ids that could end. A stream remembers, for each producer's name, the highest id, but only in the stream protocol, which aio-pika does not speak. People remember ids in the receiver's database.",
)


@trial(
    ASKED,
    "kafka",
    "`enable_idempotence=True`, and the producer starts anew",
    holds=False,
    short=TWICE,
    says="The record was there twice: the memory is of one producer's session, and the new one got another producer id.",
    documented=Documented(
        agrees=True,
        says="The producer's idempotence holds within one session.",
        source="https://kafka.apache.org/40/javadoc/org/apache/kafka/clients/producer/KafkaProducer.html",
    ),
)
def kafka_new_producer(server: Server) -> Numbers:
    async def proof() -> list[str]:
        [place] = await with_kafka.create(server.address)
        for _ in range(2):
            async with with_kafka.producing(server.address, enable_idempotence=True) as producer:
                await producer.send_and_wait(place.topic, b"0")
        return await with_kafka.stored(server.address, place)

    assert asyncio.run(proof()) == ["0", "0"]
    return {}


@trial(
    ASKED,
    "nats",
    "`Nats-Msg-Id`, `duplicate_window` of 1 s (by default 120 s)",
    holds=False,
    short=TWICE,
    says="When the window was over, the copy was stored and confirmed like a new message.",
    documented=Documented(
        agrees=True,
        says="Duplicates are tracked in a window, which is two minutes by default; a message that is sent again after that is stored a second time.",
        source="https://docs.nats.io/learn/jetstream/publishing#avoiding-duplicate-writes",
    ),
)
def nats_duplicate_window(server: Server) -> Numbers:
    async def proof() -> list[str]:
        async with jetstream(server) as default:
            assert (await default.stream_info(with_nats.STREAM)).config.duplicate_window == 120
            await default.delete_stream(with_nats.STREAM)
        async with jetstream(server, stream=StreamConfig(duplicate_window=1)) as stream:

            async def stored() -> bool:
                headers = {"Nats-Msg-Id": ID}
                return not (await stream.publish(with_nats.STREAM, b"0", headers=headers)).duplicate

            assert await stored()
            await comes(stored)
            return await with_nats.there(stream)

    assert asyncio.run(proof()) == ["0", "0"]
    return {}


@trial(
    ASKED,
    "nats",
    "`discard_new_per_subject` with `max_msgs_per_subject=1`, the id in the subject",
    holds=True,
    short=REFUSED,
    says="The copy was refused with an error for as long as the message was stored, however long that is; when it had been deleted, the copy was taken.",
    documented=Documented(
        agrees=True,
        says="With `discard_new_per_subject`, beside discard new, a publish beyond the limit of its subject fails.",
        source="https://docs.nats.io/learn/jetstream/shaping-the-stream",
    ),
)
def nats_one_per_subject(server: Server) -> Numbers:
    one = StreamConfig(
        max_msgs_per_subject=1, discard=DiscardPolicy.NEW, discard_new_per_subject=True
    )

    async def proof() -> None:
        async with jetstream(server, stream=one) as stream:
            name = with_nats.STREAM
            await stream.update_stream(replace(one, name=name, subjects=[f"{name}.*"]))
            first = await stream.publish(f"{name}.{ID}", b"0")
            with pytest.raises(
                ServiceUnavailableError, match="maximum messages per subject exceeded"
            ):
                await stream.publish(f"{name}.{ID}", b"0")
            assert await with_nats.there(stream) == ["0"]
            await stream.delete_msg(name, first.seq)
            assert (await stream.publish(f"{name}.{ID}", b"0")).seq == first.seq + 1

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "redis",
    "`SET id NX EX 1` before each `XADD`",
    holds=False,
    short=TWICE,
    says="Redis 8.0 remembers no ids by itself. When the key of the producer's own had expired, the copy was added like a new entry.",
)
def redis_expiring_key(server: Server) -> Numbers:
    with with_redis.connected(server) as client:

        def added() -> bool:
            if not client.set(ID, "", nx=True, ex=1):
                return False
            with_redis.add(client, 0)
            return True

        assert added()
        wait_until(added, "the key to expire")
        assert with_redis.there(client) == ["0", "0"]
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD` with an id of the producer's own, such as `7-0`",
    holds=True,
    short=REFUSED,
    says="The copy was refused with an error, also when the entry had been deleted: the stream keeps its last id for as long as it is there.",
    documented=Documented(
        agrees=True,
        says="Redis guarantees that the id of each entry is greater than any previous one of the stream. What the page says of ids of one's own speaks only of those that are inside the stream.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_producer_makes_the_id(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        assert client.xdel(with_redis.STREAM, "7-0") == 1
        with pytest.raises(ResponseError, match="equal or smaller than the target stream top item"):
            client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        assert with_redis.there(client) == []
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 2, the handshake is complete, and the application publishes again",
    holds=False,
    short=TWICE,
    says="The worker got the message twice: the server knows a packet's number until the handshake is complete, and the copy had a new one.",
    documented=Documented(
        agrees=True,
        says="MQTT-4.3.3-12: after its PUBCOMP, a receiver has to treat a PUBLISH with the same packet number as a new message.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901237",
    ),
)
def mqtt_handshake_complete(server: Server) -> Numbers:
    with (
        with_mqtt.session(server, "worker", expiry=600) as worker,
        with_mqtt.session(server, "producer", expiry=600) as producer,
    ):
        worker.subscribe("videos", 2)
        for _ in range(2):
            assert not producer.publish("videos", "0", 2).is_failure
        worker.comes("0", "0")
    return {}


def _postgresql(server: Server, *, keep_ids: bool) -> list[int]:
    """Publish a message, do its work, and publish it again; return how many rows each made."""
    made = []
    with connect(server) as connection:
        connection.execute("CREATE TABLE tasks (message_id uuid UNIQUE)")
        connection.execute("CREATE TABLE ids (message_id uuid PRIMARY KEY)")
        for _ in range(2):
            with connection.transaction():
                known = (
                    keep_ids
                    and not connection.execute(
                        "INSERT INTO ids VALUES (%s) ON CONFLICT DO NOTHING", [ID]
                    ).rowcount
                )
                insert = "INSERT INTO tasks VALUES (%s) ON CONFLICT DO NOTHING"
                made.append(0 if known else connection.execute(insert, [ID]).rowcount)
            connection.execute("DELETE FROM tasks")
    return made


@trial(
    ASKED,
    "postgresql",
    "`UNIQUE (message_id)` in the queue table, whose rows are deleted when done",
    holds=False,
    short=TWICE,
    says="When the work was done and the row deleted, the copy was inserted like a new message: the id had gone with the row.",
)
def postgresql_unique_in_the_queue(server: Server) -> Numbers:
    assert _postgresql(server, keep_ids=False) == [1, 1]
    return {}


@trial(
    ASKED,
    "postgresql",
    "a table of ids beside the queue table, in the same transaction",
    holds=True,
    short=REFUSED,
    says="The copy was not inserted, although the work was done and the row deleted: ids are kept until somebody deletes them.",
)
def postgresql_table_of_ids(server: Server) -> Numbers:
    assert _postgresql(server, keep_ids=True) == [1, 0]
    return {}
