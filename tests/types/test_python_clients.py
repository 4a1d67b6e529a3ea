"""What the clients do by themselves in a fault, without a module of ours around them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
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
from redis.exceptions import RedisError

from tests.brokers import Server
from tests.brokers.nats import Nats
from tests.brokers.proxy import Proxy
from tests.brokers.redis import Redis as RedisServer
from tests.brokers.server import wait_until
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

PATIENCE = 60  # seconds
WATCHED = 3  # seconds in which nothing happens
BLOCK = 1_000  # ms that a worker on Redis waits

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
def test_a_robust_connection_of_aio_pika_goes_on_after_a_cut(proxy: Proxy) -> None:
    """It says nothing of it to its worker, which gets what is published later."""

    async def proof() -> None:
        async with asyncio.timeout(PATIENCE):
            address = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
            connection = await aio_pika.connect_robust(address, reconnect_interval=0.1)
            async with connection:
                queue = await (await connection.channel()).declare_queue("transcode", durable=True)
                async with queue.iterator() as messages:
                    waiting = asyncio.ensure_future(anext(messages))
                    proxy.cut()
                    async with await aio_pika.connect(address) as other:
                        exchange = (await other.channel()).default_exchange
                        await exchange.publish(aio_pika.Message(b"cat.mp4"), "transcode")
                    await (await waiting).ack()

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


class OnRedis:
    """A worker that waits for entries, and a publisher that keeps its client."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.answers = 0
        self.calls: list[str] = []  # "", or what the publisher's call raised
        self.worker = asyncio.ensure_future(self._work())
        self.publisher = asyncio.ensure_future(self._publish())

    async def _work(self) -> None:
        while True:
            await self.client.xreadgroup("workers", "A", {"transcode": ">"}, 1, BLOCK)
            self.answers += 1

    async def _publish(self) -> None:
        while True:
            try:
                await self.client.xadd("views", {"event": "cat"})
            except RedisError as error:
                self.calls.append(type(error).__name__)
            else:
                self.calls.append("")
            await asyncio.sleep(0.1)

    async def ended_with(self) -> str:
        """Return what has ended the worker."""
        await asyncio.wait([self.worker], timeout=2 * PATIENCE)
        return type(self.worker.exception()).__name__

    async def served(self) -> set[str]:
        """Return what the publisher's calls raised until one of them was served."""
        seen = len(self.calls)
        await until(lambda: "" in self.calls[seen:])
        return set(self.calls[seen:]) - {""}

    async def refused(self) -> set[str]:
        """Return what the publisher's next calls end with."""
        seen = len(self.calls)
        await until(lambda: len(self.calls) > seen + 5)
        return set(self.calls[seen:])

    async def goes_on(self) -> None:
        """Wait until the worker has had another answer, to a question of its own after this."""
        seen = self.answers
        await until(lambda: self.answers > seen + 1)


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, "the clients to go on", 2 * PATIENCE)


@asynccontextmanager
async def on_redis(port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[OnRedis]]:
    """Yield pairs that work: with redis-py's own limit, without a limit, and on our module."""
    address = f"redis://127.0.0.1:{port}/0"
    module = load(SNIPPETS / "redis_client.py")
    monkeypatch.setattr(module, "URL", address)
    bare: Any = Redis.from_url(address)
    endless: Any = Redis.from_url(address, socket_timeout=None, health_check_interval=1)
    async with bare, endless, module.connect() as ours:
        await bare.xgroup_create("transcode", "workers", "0", mkstream=True)
        pairs = [OnRedis(client) for client in (bare, endless, ours)]
        try:
            await until(lambda: all(pair.answers and "" in pair.calls for pair in pairs))
            yield pairs
        finally:
            tasks = [task for pair in pairs for task in (pair.worker, pair.publisher)]
            for _ in range(PATIENCE):  # on Python 3.11, one cancellation may be swallowed
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=1)
                if all(task.done() for task in tasks):
                    break


@pytest.mark.broker("redis")
@pytest.mark.parametrize("fault", ["cut", "killed", "away", "deleted"])
def test_redis_py_ends_a_worker_at_once_whatever_its_limit(
    fault: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher's next call is served; while the server is away, each call raises."""

    async def proof() -> None:
        async with on_redis(between.port, monkeypatch) as pairs:
            if fault == "cut":
                between.cut()
            elif fault == "deleted":
                await asyncio.to_thread(own.empty)
            else:
                await asyncio.to_thread(own.kill)
            for pair in pairs:
                ends = "ResponseError" if fault == "deleted" else "ConnectionError"
                assert await pair.ended_with() == ends
            if fault == "away":
                for pair in pairs:
                    assert await pair.refused() == {"ConnectionError"}
            if fault in {"away", "killed"}:
                await asyncio.to_thread(own.start)
            for pair in pairs:
                assert await pair.served() <= {"ConnectionError"}

    with server.another(RedisServer) as own:
        between = Proxy(own.port_number)
        try:
            asyncio.run(proof())
        finally:
            between.close()


@pytest.mark.broker("redis")
def test_on_silence_redis_py_waits_for_its_limit_and_without_one_for_ever(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def proof() -> None:
        async with on_redis(proxy.port, monkeypatch) as (bare, endless, ours):
            proxy.silence()
            silent = time.monotonic()
            for pair, seconds in ((bare, 5), (ours, 15)):
                assert await pair.ended_with() == "TimeoutError"
                # It may have waited for a second when the silence began.
                assert time.monotonic() - silent > seconds - BLOCK / 1000 - 0.5
                assert await pair.served() <= {"TimeoutError"}
                assert "TimeoutError" in pair.calls
            heard = endless.answers, len(endless.calls)
            assert not endless.worker.done()
            await asyncio.sleep(WATCHED)
            assert (endless.answers, len(endless.calls)) == heard

    asyncio.run(proof())


@pytest.mark.broker("redis")
def test_a_server_that_stands_still_for_longer_than_its_limit_makes_redis_py_raise(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def proof() -> None:
        async with on_redis(own.port_number, monkeypatch) as (bare, endless, ours):
            await asyncio.to_thread(own.freeze)
            try:
                await asyncio.sleep(10)
            finally:
                own.thaw()
            assert await bare.ended_with() == "TimeoutError"
            assert await bare.served() <= {"TimeoutError"}
            assert "TimeoutError" in bare.calls
            for pair in (endless, ours):
                await pair.goes_on()
                assert not await pair.served()
                assert set(pair.calls) == {""}

    with server.another(RedisServer) as own:
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
