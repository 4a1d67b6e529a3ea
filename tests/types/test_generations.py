"""What an upgrade of a broker changes for your code: each test asserts both versions.

It runs on the generation that is chosen, and asks the server which of the two it is.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import nats
import psycopg
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import BadRequestError
from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from tests.brokers import Server, debian
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.mqtt import Mosquitto
from tests.brokers.rabbitmq import Rabbitmq
from tests.patterns.stage import Stage, everything
from tests.types.test_mqtt import DISCONNECT, connect

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


async def task(channel: AbstractChannel, **arguments: Any) -> AbstractQueue:
    """Declare a quorum queue, with one task in it."""
    queue = await channel.declare_queue(
        "transcode", durable=True, arguments={**QUORUM, **arguments}
    )
    await channel.default_exchange.publish(aio_pika.Message(b"cat.mp4"), queue.name)
    return queue


@pytest.mark.broker("rabbitmq")
def test_a_nack_counts_until_4_2(server: Server) -> None:
    """With a limit of 2, a third return would be the last one. A reject counts on both."""

    async def returned(*, nack: bool) -> list[int | None]:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            queue = await task(channel, **{"x-delivery-limit": 2})
            counts: list[Any] = []
            async with asyncio.timeout(SECONDS), queue.iterator() as messages:
                for _ in range(3):
                    message = await anext(messages)
                    counts.append(message.headers.get("x-delivery-count"))
                    await (message.nack() if nack else message.reject(requeue=True))
                # What comes next, the task or the mark, tells whether the task was dropped.
                await channel.default_exchange.publish(aio_pika.Message(b"mark"), queue.name)
                last = await anext(messages)
                await last.ack()
            assert last.body == (b"cat.mp4" if nack and server.at_least(4, 3) else b"mark")
            await queue.delete(if_empty=False, if_unused=False)
            return counts

    assert asyncio.run(returned(nack=False)) == [None, 1, 2]
    expected = [None, None, None] if server.at_least(4, 3) else [None, 1, 2]
    assert asyncio.run(returned(nack=True)) == expected


@pytest.mark.broker("rabbitmq")
def test_a_look_through_the_management_api_counts_until_4_2(server: Server) -> None:
    """`reject_requeue_true` counts on both: what it puts back has been rejected."""
    assert isinstance(server, Rabbitmq)

    async def looked(mode: str) -> object:
        async with await aio_pika.connect(server.address) as connection:
            queue = await task(await connection.channel())
            for _ in range(2):
                request = {"count": 1, "ackmode": mode, "encoding": "auto"}
                path = f"queues/%2F/{queue.name}/get"
                assert len(await asyncio.to_thread(server.ask, path, "POST", request)) == 1
            message = await queue.get(no_ack=True, timeout=SECONDS)
            await queue.delete(if_empty=False, if_unused=False)
            return message.headers.get("x-delivery-count", 0)

    assert asyncio.run(looked("reject_requeue_true")) == 2
    assert asyncio.run(looked("ack_requeue_true")) == (0 if server.at_least(4, 3) else 2)


@pytest.mark.broker("rabbitmq")
def test_quorum_queues_have_32_priorities_from_4_3(server: Server) -> None:
    """On 4.0 there are two: up to 4, and above. Nothing has to be declared."""

    async def proof() -> list[int | None]:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("transcode", durable=True, arguments=QUORUM)
            for priority in (1, 3, 2):
                await channel.default_exchange.publish(
                    aio_pika.Message(b"cat.mp4", priority=priority), queue.name
                )
            return [(await queue.get(no_ack=True)).priority for _ in range(3)]

    assert asyncio.run(proof()) == ([3, 2, 1] if server.at_least(4, 3) else [1, 3, 2])


@pytest.mark.broker("rabbitmq")
def test_a_quorum_queue_can_delay_what_is_rejected_from_4_3(server: Server) -> None:
    """An older server takes the arguments, and delays nothing. A nack is not delayed by them."""

    async def after(*, nack: bool) -> bytes:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            hour = 3_600_000
            queue = await task(channel, **delays_of(hour, hour))
            async with asyncio.timeout(SECONDS), queue.iterator() as messages:
                message = await anext(messages)
                await (message.nack() if nack else message.reject(requeue=True))
                await channel.default_exchange.publish(aio_pika.Message(b"mark"), queue.name)
                found = (await anext(messages)).body
            await queue.delete(if_empty=False, if_unused=False)
            return found

    assert asyncio.run(after(nack=True)) == b"cat.mp4"
    expected = b"mark" if server.at_least(4, 3) else b"cat.mp4"
    assert asyncio.run(after(nack=False)) == expected


@pytest.mark.broker("rabbitmq")
def test_each_delay_of_a_quorum_queue_is_longer_up_to_the_limit_from_4_3(server: Server) -> None:
    """The delay is the least one times the failures. The delivery limit holds as before."""

    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            dead = await channel.declare_queue("dead", durable=True)
            dies = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
            queue = await task(channel, **delays_of(200, 500), **dies, **{"x-delivery-limit": 3})
            async with asyncio.timeout(SECONDS), queue.iterator() as messages:
                message = await anext(messages)
                for least in (0.2, 0.4, 0.5):
                    given_back = time.monotonic()
                    await message.reject(requeue=True)
                    message = await anext(messages)
                    assert not server.at_least(4, 3) or time.monotonic() - given_back >= least
                await message.reject(requeue=True)
            async with asyncio.timeout(SECONDS), dead.iterator() as letters:
                assert (await anext(letters)).body == b"cat.mp4"

    asyncio.run(proof())


def delays_of(least: int, most: int) -> dict[str, Any]:
    """Return the arguments for a queue that holds back what failed, for so many milliseconds."""
    return {
        "x-delayed-retry-type": "failed",
        "x-delayed-retry-min": least,
        "x-delayed-retry-max": most,
    }


@pytest.mark.broker("rabbitmq")
def test_an_exchange_spreads_keys_over_queues_from_4_3(server: Server) -> None:
    """A key goes to one queue each time. Until then it took a plugin."""
    videos = [f"video-{number}" for number in range(20)]

    async def proof() -> list[list[str]]:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange("videos", "x-modulus-hash", durable=True)
            queues = [
                await channel.declare_queue(f"videos.{number}", durable=True, arguments=QUORUM)
                for number in range(2)
            ]
            for queue in queues:
                await queue.bind(exchange, "any")
            for video in videos * 2:
                await exchange.publish(aio_pika.Message(video.encode()), video)
            found = []
            for queue in queues:
                count = (await channel.declare_queue(queue.name, passive=True)).declaration_result
                got = [await queue.get(no_ack=True) for _ in range(count.message_count or 0)]
                found.append([each.body.decode() for each in got])
            return found

    if not server.at_least(4, 3):
        with pytest.raises(AMQPError, match="unknown exchange type 'x-modulus-hash'"):
            asyncio.run(proof())
        return
    first, second = asyncio.run(proof())
    assert first
    assert second
    assert sorted(first + second) == sorted(videos * 2)
    assert not set(first) & set(second)


@pytest.mark.broker("rabbitmq")
def test_what_the_notes_of_4_3_announce_is_as_before_on_4_3_6(server: Server) -> None:
    """The documentation says: it ignores `x-max-priority`, and refuses such a transient queue."""

    async def proof() -> str:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            await channel.declare_queue("views", durable=False)
            with pytest.raises(AMQPError) as refused:
                await task(channel, **{"x-max-priority": 10})
            return str(refused.value)

    assert "invalid arg 'x-max-priority'" in asyncio.run(proof())


@pytest.mark.broker("rabbitmq")
def test_a_prefetch_for_a_channel_is_one_for_each_consumer_from_4_3(server: Server) -> None:
    """The server answers as before, and says it only in its log."""
    expected = 2 if server.at_least(4, 3) else 1

    async def proof() -> int:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1, global_=True)
            queue = await channel.declare_queue("transcode", durable=True)
            for _ in range(4):
                await channel.default_exchange.publish(aio_pika.Message(b"cat.mp4"), queue.name)
            given = 0

            async def hold(_: AbstractIncomingMessage) -> None:
                nonlocal given
                given += 1

            await queue.consume(hold)
            await queue.consume(hold)

            async def all_that_come() -> bool:
                return given == expected

            await comes(all_that_come)
            other = await connection.channel()
            left = await other.declare_queue(queue.name, passive=True)
            return 4 - int(left.declaration_result.message_count or 0)

    assert asyncio.run(proof()) == expected


@pytest.mark.broker("nats")
def test_filter_subjects_may_cross_from_2_15(server: Server) -> None:
    """They match the same message, and none includes the other, which is refused still."""

    async def proof() -> list[str]:
        said = []
        async with jetstream(server) as stream:
            await stream.update_stream(StreamConfig(name="videos", subjects=["videos.*.*"]))
            for name, other in (("nested", "videos.*.*"), ("cross", "videos.*.uploaded")):
                filters = ["videos.cat.*", other]
                config = ConsumerConfig(durable_name=name, filter_subjects=filters)
                try:
                    await stream.add_consumer("videos", config)
                except BadRequestError as error:
                    said.append(error.description or "")
                    continue
                await stream.publish("videos.cat.uploaded", b"cat.mp4")
                waiting = (await stream.consumer_info("videos", name)).num_pending
                said.append(f"made, {waiting} waits")
        return said

    refused = "consumer subject filters cannot overlap"
    nested, crossing = asyncio.run(proof())
    assert nested == refused
    assert crossing == ("made, 1 waits" if server.at_least(2, 15) else refused)


@pytest.mark.broker("nats")
def test_one_message_expires_from_2_11(server: Server) -> None:
    """A stream has to allow it. An older server ignores the setting, and the header."""

    async def proof() -> None:
        config = StreamConfig(allow_msg_ttl=True)
        async with jetstream(server, stream=config) as stream:
            await stream.publish("videos", b"cat.mp4", headers={"Nats-TTL": "1s"})
            allowed = bool((await stream.stream_info("videos")).config.allow_msg_ttl)
            assert allowed == server.at_least(2, 11)

            async def gone() -> bool:
                return (await stream.stream_info("videos")).state.messages == 0

            if allowed:
                await comes(gone)

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_a_message_is_sent_later_from_2_12(server: Server) -> None:
    """A stream has to allow it. An older server stores the message as any other, and sends none."""

    async def proof() -> None:
        config = StreamConfig(allow_msg_schedules=True)
        async with jetstream(server, stream=config) as stream:
            both = replace(config, name="videos", subjects=["videos", "later"])
            info = await stream.update_stream(both)
            assert bool(info.config.allow_msg_schedules) == server.at_least(2, 12)
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
            schedule = {
                "Nats-Schedule": f"@at {at:%Y-%m-%dT%H:%M:%SZ}",
                "Nats-Schedule-Target": "videos",
            }
            await stream.publish("later", b"cat.mp4", headers=schedule)

            async def sent() -> bool:
                info = await stream.stream_info("videos", subjects_filter=">")
                return info.state.subjects == {"videos": 1}

            if info.config.allow_msg_schedules:
                await comes(sent)
                came = (await stream.get_last_msg("videos", "videos")).time
                assert came
                assert came >= at
            else:
                assert (await stream.get_last_msg("videos", "later")).data == b"cat.mp4"

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_one_of_many_workers_can_be_the_active_one_from_2_11(server: Server) -> None:
    """The first who asks is pinned, and gets all. An older server ignores the setting."""
    config = {
        "durable_name": "worker",
        "ack_policy": "explicit",
        "priority_groups": ["workers"],
        "priority_policy": "pinned_client",
    }

    async def proof() -> list[int]:
        given = [0, 0]
        async with jetstream(server) as stream, await nats.connect(server.address) as connection:
            api = "$JS.API.CONSUMER"
            create = json.dumps({"stream_name": "videos", "config": config}).encode()
            await connection.request(f"{api}.DURABLE.CREATE.videos.worker", create)
            take = json.dumps({"batch": 4, "expires": SECONDS * 10**9, "group": "workers"})
            for number in (0, 1):

                async def hear(_: Msg, number: int = number) -> None:
                    given[number] += 1

                await connection.subscribe(f"worker.{number}", cb=hear)
                ask = f"{api}.MSG.NEXT.videos.worker"
                await connection.publish(ask, take.encode(), reply=f"worker.{number}")
            await connection.flush()
            for _ in range(4):
                await stream.publish("videos", b"cat.mp4")

            async def all_come() -> bool:
                return sum(given) == 4

            await comes(all_come)
        return given

    given = asyncio.run(proof())
    assert given == [4, 0] if server.at_least(2, 11) else all(given)


def plugins_for_sqlite(server: Server) -> list[str]:
    """Return the plugin's path, as the server sees it; an older one has none."""
    root = debian.folder(server.source.generation) if server.source.generation else Path("/")
    found = root.glob("usr/lib/*/mosquitto/mosquitto_persist_sqlite.so")
    return [f"/{path.relative_to(root)}" for path in found]


class WithSqlite(Mosquitto):
    """Mosquitto that writes each change into a database, and keeps none back for a while."""

    def prepare(self) -> None:
        super().prepare()
        [plugin] = plugins_for_sqlite(self)
        self.configuration.write_text(
            f"listener {self.port_number} 127.0.0.1\n"
            "allow_anonymous true\n"
            "log_dest stdout\n"
            f"plugin {plugin}\n"
            f"plugin_opt_db_file {self.data}/mosquitto.sqlite3\n"
            "plugin_opt_flush_period 0\n"
        )


@pytest.mark.broker("mqtt")
def test_what_is_confirmed_outlives_kill_9_with_sqlite_from_2_1(
    server: Server, tmp_path: Path
) -> None:
    """The usual persistence writes all half an hour later, or at an orderly end."""
    tasks = [f"transcode {number}.mp4" for number in range(6)]
    if not server.at_least(2, 1):
        assert not plugins_for_sqlite(server)
        return
    with (
        server.another(WithSqlite) as own,
        Stage.of("patterns/work_queue", "mqtt", own, tmp_path) as stage,
    ):
        stage.call("declare")
        stage.call("submit", tasks=tasks)
        own.kill()
        own.start()
        workers = [stage.spawn("work", worker=name) for name in "AB"]
        assert stage.happens(lambda: set(everything("done", workers)) == {*tasks}, *workers)


@pytest.mark.broker("mqtt")
def test_a_client_of_3_1_1_gets_a_message_for_each_pattern_from_2_1(server: Server) -> None:
    """Until then, one that matches two of its subscriptions comes once."""
    got: list[bytes] = []
    granted, ended = threading.Semaphore(0), threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, "collector", protocol=MQTTv311)

    def receive(_client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic == "end":
            ended.set()
        else:
            got.append(bytes(message.payload))

    client.on_message = receive
    client.on_subscribe = lambda *_: granted.release()
    place = urlsplit(server.address)
    client.connect(str(place.hostname), place.port or 1883)
    client.loop_start()
    try:
        patterns = ("videos/#", "videos/+", "end")
        for pattern in patterns:
            client.subscribe(pattern, 1)
        assert all(granted.acquire(timeout=SECONDS) for _ in patterns)
        client.publish("videos/uploaded", b"cat.mp4", 1)
        client.publish("end", b"", 1)
        assert ended.wait(SECONDS)
    finally:
        client.disconnect()
        client.loop_stop()
    assert got == [b"cat.mp4"] * (2 if server.at_least(2, 1) else 1)


@pytest.mark.broker("mqtt")
def test_a_packet_above_two_million_bytes_is_refused_from_2_1(server: Server) -> None:
    topic = b"\x00\x06videos"
    rest = topic + b"\x00\x01" + b"\x00" + b"x" * 2_100_000
    length, size = b"", len(rest)
    while size:
        size, low = divmod(size, 128)
        length += bytes([low | (128 if size else 0)])
    with connect(server, b"uploader") as connection:
        try:
            connection.sendall(b"\x32" + length + rest)
            answer = connection.recv(64)
        except OSError:  # it has closed, and what it said is lost
            answer = b""
    if server.at_least(2, 1):
        assert answer in (b"", bytes([DISCONNECT, 1, 0x95]))
    else:
        assert answer[0] == 0x40


@pytest.mark.broker("postgresql")
def test_new_data_has_checksums_from_18(server: Server) -> None:
    """So `pg_upgrade` from data without them is refused, unless the new data is made without."""
    with psycopg.connect(server.address) as connection:
        assert connection.execute("SHOW data_checksums").fetchone() == (
            "on" if server.at_least(18) else "off",
        )


@pytest.mark.broker("postgresql")
def test_an_update_returns_what_a_row_was_from_18(server: Server) -> None:
    """A worker that takes a task sees in one statement whether another had it before."""
    with psycopg.connect(server.address) as connection:
        connection.execute("CREATE TABLE tasks (id int, worker text)")
        connection.execute("INSERT INTO tasks VALUES (1, 'A')")
        take = "UPDATE tasks SET worker = 'B' RETURNING old.worker, new.worker"
        if server.at_least(18):
            assert connection.execute(take).fetchone() == ("A", "B")
        else:
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute(take)


@pytest.mark.broker("postgresql")
def test_a_database_makes_sortable_ids_from_18(server: Server) -> None:
    with psycopg.connect(server.address) as connection:
        if server.at_least(18):
            row = connection.execute("SELECT uuidv7() < uuidv7()").fetchone()
            assert row == (True,)
        else:
            with pytest.raises(psycopg.errors.UndefinedFunction):
                connection.execute("SELECT uuidv7()")


@pytest.mark.broker("postgresql")
def test_each_column_of_17_12_has_an_option_that_18_does_not_know(server: Server) -> None:
    """So `pg_upgrade` fails at the first table, and so does what `pg_dump` of 18 wrote."""
    with psycopg.connect(server.address) as connection:
        connection.execute("CREATE TABLE tasks (id int)")
        if server.at_least(18):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match='"pg_attver"'):
                connection.execute("ALTER TABLE tasks ALTER id SET (pg_attver=1)")
        elif server.at_least(17, 12):
            [row] = connection.execute(
                "SELECT attoptions FROM pg_attribute"
                " WHERE attrelid = 'tasks'::regclass AND attname = 'id'"
            ).fetchall()
            assert row[0][0].startswith("pg_attver=")
