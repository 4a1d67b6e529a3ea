"""What the clients do by themselves in a fault, without a module of ours around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import nats
import psycopg
import pytest
from aio_pika.abc import AbstractConnection
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as NoAnswerError

from tests.brokers import Server
from tests.brokers.nats import Nats
from tests.brokers.proxy import Proxy

PATIENCE = 15  # seconds
WATCHED = 3  # seconds in which nothing happens

NOT_TOLD = """
authorization { users = [
    { user: owner, password: o }
    { user: worker, password: w, permissions: {
        publish: ["$JS.API.INFO", "$JS.API.CONSUMER.INFO.>"], subscribe: ["_INBOX.>"] } }
] }
"""


class Guarded(Nats):
    """A server with an account that may not fetch."""

    def prepare(self) -> None:
        super().prepare()
        with self.configuration.open("a") as file:
            file.write(NOT_TOLD)


class NoText(str):
    """A header's name that another client has written, and that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    between = Proxy(server.port_number)
    yield between
    between.close()


@asynccontextmanager
async def still_waiting(call: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Show that a call has not ended when all else has been done, and cancel it."""
    task = asyncio.ensure_future(call)
    try:
        done, _ = await asyncio.wait([task], timeout=WATCHED)
        assert not done
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)


@pytest.mark.broker("rabbitmq")
def test_an_iterator_of_aio_pika_ends_with_its_connection_as_if_all_were_done(
    proxy: Proxy,
) -> None:
    async def proof() -> None:
        async with asyncio.timeout(PATIENCE):
            address = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
            connection = await aio_pika.connect(address)
            queue = await (await connection.channel()).declare_queue("transcode", durable=True)

            ready = asyncio.Event()

            async def work() -> str:
                async with queue.iterator() as messages:
                    ready.set()
                    async for message in messages:
                        await message.ack()
                return "as if all were done"

            working = asyncio.ensure_future(work())
            await ready.wait()
            proxy.cut()
            assert await working == "as if all were done"

    asyncio.run(proof())


@pytest.mark.broker("rabbitmq")
def test_while_a_server_hangs_a_robust_connection_of_aio_pika_tells_its_worker_nothing(
    server: Server,
) -> None:
    async def work(connection: AbstractConnection, ready: asyncio.Event) -> None:
        queue = await (await connection.channel()).declare_queue("transcode", durable=True)
        async with queue.iterator() as messages:
            ready.set()
            async for message in messages:
                await message.ack()

    async def proof() -> None:
        ready = asyncio.Event(), asyncio.Event()
        plain = await aio_pika.connect(server.address, heartbeat=1)
        robust = await aio_pika.connect_robust(server.address, heartbeat=1, reconnect_interval=1)
        told = asyncio.ensure_future(work(plain, ready[0]))
        waiting = asyncio.ensure_future(work(robust, ready[1]))
        await asyncio.gather(*(one.wait() for one in ready))
        server.freeze()
        try:
            done, _ = await asyncio.wait([told], timeout=3 * PATIENCE)
            assert done
            done, _ = await asyncio.wait([waiting], timeout=WATCHED)
            assert not done
        finally:
            server.thaw()
        waiting.cancel()
        await asyncio.wait([waiting], timeout=PATIENCE)
        await robust.close()

    asyncio.run(proof())


@pytest.mark.broker("redis")
def test_redis_py_without_a_socket_timeout_waits_on_silence(proxy: Proxy) -> None:
    async def proof() -> None:
        address = f"redis://127.0.0.1:{proxy.port}"
        endless: Any = Redis.from_url(address, socket_timeout=None)
        limited: Any = Redis.from_url(address, socket_timeout=0.5, retry=None)
        async with endless, limited:
            await asyncio.gather(endless.ping(), limited.ping())
            proxy.silence()
            async with still_waiting(endless.ping()):
                with pytest.raises(NoAnswerError):
                    await limited.ping()

    asyncio.run(proof())


@pytest.mark.broker("postgresql")
def test_psycopg_waits_on_silence_until_a_clock_ends_it(proxy: Proxy) -> None:
    async def proof() -> None:
        address = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        options = "&".join(("keepalives_idle=1", "keepalives_interval=1", "keepalives_count=1"))
        db = await psycopg.AsyncConnection.connect(f"{address}?tcp_user_timeout=1000&{options}")
        await db.execute("SELECT 1")
        proxy.silence()
        query = asyncio.ensure_future(db.execute("SELECT 1"))
        done, _ = await asyncio.wait([query], timeout=WATCHED)
        assert not done
        query.cancel()
        done, _ = await asyncio.wait([query], timeout=40)
        assert done
        assert db.closed

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_nats_py_takes_a_refused_fetch_for_an_empty_queue(server: Server) -> None:
    async def proof(address: str) -> None:
        told: list[str] = []

        async def failed(error: Exception) -> None:
            told.append(str(error))

        owner = await nats.connect(address, user="owner", password="o")
        await owner.jetstream().add_stream(name="transcode", subjects=["transcode"])
        await owner.jetstream().add_consumer("transcode", durable_name="workers")
        await owner.jetstream().publish("transcode", b"cat.mp4")
        worker = await nats.connect(address, user="worker", password="w", error_cb=failed)
        source = await worker.jetstream().pull_subscribe_bind("workers", "transcode")
        with pytest.raises(TimeoutError) as error:
            await source.fetch(1, timeout=1)
        assert "permission" not in str(error.value).lower()
        assert "permissions violation" in told[0].lower()
        await worker.close()
        await owner.close()

    with server.another(Guarded) as guarded:
        asyncio.run(proof(f"nats://{guarded.host}:{guarded.port_number}"))


@pytest.mark.broker("kafka")
def test_aiokafka_raises_at_the_same_undecodable_record_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)

    async def proof() -> None:
        async with AIOKafkaProducer(bootstrap_servers=server.address) as sender:
            await sender.send_and_wait("videos", b"cat", headers=[(NoText("x"), b"")])
            await sender.send_and_wait("videos", b"dog")
        consumer = AIOKafkaConsumer(
            "videos", bootstrap_servers=server.address, auto_offset_reset="earliest"
        )
        async with consumer:
            for _ in "ab":
                with pytest.raises(UnicodeDecodeError):
                    await asyncio.wait_for(consumer.getone(), PATIENCE)

    asyncio.run(proof())
