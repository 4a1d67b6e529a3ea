"""From snippet to service: what several handlers, a health check and an address have to stand."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from handbook.brokers import BROKERS
from tests.brokers import Server
from tests.brokers.clients import comes
from tests.brokers.kafka import Kafka
from tests.brokers.rabbitmq import Rabbitmq
from tests.patterns.home import load
from tests.patterns.stage import Stage
from tests.snippets.running import SNIPPETS, download

KEYS = [broker.key for broker in BROKERS if broker.variable]
CAT, *OTHERS = TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
#: One place says how far everything is done: what is behind an unfinished task comes again.
BY_PLACE = ("kafka", "mqtt")
#: In these, an acknowledgement is of one task alone.
ONE_BY_ONE = [key for key in KEYS if key not in BY_PLACE]


def each(keys: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "key", [pytest.param(key, id=key, marks=pytest.mark.broker(key)) for key in keys]
    )


def handlers(key: str, server: Server | None, folder: Path) -> Stage:
    return Stage.of("best_practices/service_handlers", key, server, folder)


def begin(stage: Stage) -> None:
    if stage.key != "kafka":
        stage.call("declare")
    stage.call("submit", tasks=TASKS)


@each(KEYS)
def test_a_slow_task_holds_up_no_other_and_a_crash_repeats_what_is_not_acknowledged(
    key: str, server: Server | None, tmp_path: Path
) -> None:
    with handlers(key, server, tmp_path) as stage:
        begin(stage)
        slow = stage.spawn("work", mode="hold", only=CAT)
        assert stage.happens(lambda: sorted(slow.done) == sorted(OTHERS), slow)
        # Time for the acknowledgements; then the process is gone.
        assert stage.stays(lambda: CAT not in slow.done, 3)
        slow.kill()
        other = stage.spawn("work")
        again = TASKS if key in BY_PLACE else [CAT]
        assert stage.happens(lambda: sorted(other.done) == sorted(again), other)
        assert stage.stays(lambda: sorted(other.done) == sorted(again), 1)


@each(KEYS)
def test_a_handler_that_raises_ends_the_worker_and_loses_nothing(
    key: str, server: Server | None, tmp_path: Path
) -> None:
    with handlers(key, server, tmp_path) as stage:
        begin(stage)
        failing = stage.spawn("work", mode="fail", only=CAT)
        assert stage.happens(lambda: failing.ended, failing)
        assert "this handler was told to fail" in (failing.error or "")
        other = stage.spawn("work")
        assert stage.happens(lambda: CAT in other.done, other)
        done = [*failing.done, *other.done]
        assert stage.happens(lambda: {*failing.done, *other.done} == {*TASKS}, other), done


@each(KEYS)
def test_a_handler_that_is_cancelled_from_within_ends_the_worker(
    key: str, server: Server | None, tmp_path: Path
) -> None:
    """A `TaskGroup` lets that pass: the worker would return, or go on without its handlers.

    Where none is used, the worker would end as if it had been cancelled itself.
    """
    with handlers(key, server, tmp_path) as stage:
        begin(stage)
        failing = stage.spawn("work", mode="cancelled")
        assert stage.happens(lambda: failing.ended, failing)
        assert "cancelled in its handler" in (failing.error or "")


@pytest.mark.broker("kafka")
def test_kafka_commits_no_offset_behind_an_open_task(server: Server, tmp_path: Path) -> None:
    assert isinstance(server, Kafka)
    with handlers("kafka", server, tmp_path) as stage:
        begin(stage)
        slow = stage.spawn("work", mode="hold", only="owl")
        assert stage.happens(lambda: len(slow.done) == 3, slow)

        def committed() -> list[int]:
            return [offset for offset, _ in server.committed("transcoders")]

        assert stage.happens(lambda: committed() == [2], slow)  # the owl's
        assert stage.stays(lambda: committed() == [2], 2)
        slow.release()
        assert stage.happens(lambda: committed() == [4], slow)


@pytest.mark.broker("kafka")
def test_a_commit_of_the_last_that_ended_loses_the_one_in_work(
    server: Server, tmp_path: Path
) -> None:
    with handlers("kafka", server, tmp_path) as stage:
        stage.replace("min(held[where], default=await position(where))", "await position(where)")
        begin(stage)
        slow = stage.spawn("work", mode="hold", only=CAT)
        assert stage.happens(lambda: sorted(slow.done) == sorted(OTHERS), slow)
        assert stage.stays(lambda: CAT not in slow.done, 1)
        slow.kill()
        stage.call("submit", tasks=["next.mp4"])
        other = stage.spawn("work")
        assert stage.happens(lambda: "next.mp4" in other.done, other)
        assert CAT not in other.taken


@pytest.mark.broker("kafka")
def test_after_a_transaction_nothing_is_left_to_do(server: Server, tmp_path: Path) -> None:
    assert isinstance(server, Kafka)

    end = 2 * len(TASKS) + 1  # the marker has an offset, too

    async def submit() -> None:
        async with (
            AIOKafkaProducer(
                bootstrap_servers=server.address, transactional_id="uploads"
            ) as producer,
            producer.transaction(),
        ):
            for task in TASKS:
                await producer.send("transcode", task.encode())
        async with AIOKafkaConsumer(bootstrap_servers=server.address) as consumer:
            place = TopicPartition("transcode", 0)

            async def marked() -> bool:  # which is done after the commit was answered
                return bool((await consumer.end_offsets([place]))[place] == end)

            await comes(marked)

    with handlers("kafka", server, tmp_path) as stage:
        begin(stage)
        asyncio.run(submit())
        worker = stage.spawn("work")
        assert stage.happens(lambda: len(worker.done) == 2 * len(TASKS), worker)
        assert stage.happens(lambda: server.committed("transcoders") == [(end, "")], worker)


@pytest.mark.broker("mqtt")
def test_mosquitto_takes_acknowledgements_in_any_order(server: Server, tmp_path: Path) -> None:
    with handlers("mqtt", server, tmp_path) as stage:
        # Against MQTT 5, 4.6: each as soon as its task is done.
        stage.replace(
            "            await task\n            session.ack(message)", "            pass"
        )
        stage.replace(
            "create_task(one(message.payload))",
            "create_task(one(message.payload))\n"
            "                    task.add_done_callback(\n"
            "                        lambda _, it=message: session.ack(it))",
        )
        begin(stage)
        slow = stage.spawn("work", mode="hold", only=CAT)
        assert stage.happens(lambda: sorted(slow.done) == sorted(OTHERS), slow)
        assert stage.stays(lambda: slow.process.alive, 2)
        slow.kill()
        other = stage.spawn("work")
        assert stage.happens(lambda: other.taken == [CAT], other)
        assert stage.stays(lambda: other.taken == [CAT], 2)


def loaded(topic: str, server: Server, folder: Path) -> ModuleType:
    """Load a snippet, and what lies beside it, with this server's address."""
    snippet = SNIPPETS / "best_practices" / topic / server.broker.file_name
    os.environ |= server.environment_of_clients
    return load(download(snippet, folder))


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the addresses that a test has set."""
    for broker in BROKERS:
        if broker.variable:
            monkeypatch.setenv(broker.variable, "")  # or what is added later would stay
            monkeypatch.delenv(broker.variable)


async def in_the_application(web: ModuleType, scene: Callable[[Any], Awaitable[None]]) -> None:
    client = httpx.AsyncClient(transport=httpx.ASGITransport(web.app), base_url="http://localhost")
    async with web.app.router.lifespan_context(web.app), client:
        await scene(client)


async def upload_is_done(web: ModuleType, client: Any, video: str) -> None:
    """Upload until it is accepted, and wait until it is transcoded."""

    async def accepted() -> bool:
        return bool((await client.post(f"/videos/{video}")).status_code == 202)

    async def done() -> bool:
        return video in web.transcoded

    await comes(accepted, 60)
    await comes(done, 60)


@pytest.mark.broker("rabbitmq")
def test_a_web_application_whose_broker_is_silent_is_unhealthy_and_comes_back(
    server: Server, tmp_path: Path
) -> None:
    web = loaded("service_web", server, tmp_path)

    async def scene(client: Any) -> None:
        async def health(code: int) -> bool:
            return bool((await client.get("/health")).status_code == code)

        assert await health(200)
        server.freeze()  # connected, and nothing comes
        try:
            await comes(lambda: health(503), 60)
            assert (await client.post("/videos/dog.mp4")).status_code == 503
        finally:
            server.thaw()
        await upload_is_done(web, client, "owl.mp4")
        assert await health(200)

    asyncio.run(in_the_application(web, scene))


@pytest.mark.broker("rabbitmq")
def test_a_web_application_goes_on_after_its_broker_was_killed(
    server: Server, tmp_path: Path
) -> None:
    assert isinstance(server, Rabbitmq)
    web = loaded("service_web", server, tmp_path)

    async def scene(client: Any) -> None:
        await asyncio.to_thread(server.write_down_queues)
        await upload_is_done(web, client, "cat.mp4")
        await asyncio.to_thread(server.kill)
        assert (await client.post("/videos/dog.mp4")).status_code == 503
        await asyncio.to_thread(server.start)
        await upload_is_done(web, client, "owl.mp4")

    asyncio.run(in_the_application(web, scene))


@pytest.mark.broker("rabbitmq")
def test_a_web_application_ends_although_a_loss_took_the_place_of_its_cancellation(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is lost while it is cancelled raises its own error in aio-pika."""
    web = loaded("service_web", server, tmp_path)

    async def keep_connected() -> None:
        web.Link.ready.set()
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    async def proof() -> None:
        async with asyncio.timeout(60), web.lifespan(web.app):
            pass

    monkeypatch.setattr(web, "keep_connected", keep_connected)
    asyncio.run(proof())


@pytest.mark.broker("rabbitmq")
def test_a_web_application_consumes_again_after_its_queue_was_deleted(
    server: Server, tmp_path: Path
) -> None:
    """The broker answers all the time, and the consumer alone is gone."""
    assert isinstance(server, Rabbitmq)
    web = loaded("service_web", server, tmp_path)

    async def scene(client: Any) -> None:
        await upload_is_done(web, client, "cat.mp4")
        await asyncio.to_thread(server.ask, f"queues/%2F/{web.QUEUE}", "DELETE")
        await upload_is_done(web, client, "owl.mp4")

    asyncio.run(in_the_application(web, scene))


@pytest.mark.broker("rabbitmq")
def test_a_web_application_keeps_what_its_handler_refuses(server: Server, tmp_path: Path) -> None:
    web = loaded("service_web", server, tmp_path)

    class Broken:
        def append(self, _: str) -> None:
            raise ValueError("unknown codec")

    async def scene(client: Any) -> None:
        vars(web)["transcoded"] = Broken()
        assert (await client.post("/videos/cat.mp4")).status_code == 202
        async with asyncio.timeout(60), web.connect() as channel:
            [letter] = await sys.modules["rabbitmq_client"].look(channel, web.DEAD, 1)
            assert letter.body == b"cat.mp4"

    asyncio.run(in_the_application(web, scene))


@pytest.mark.broker("rabbitmq")
def test_a_web_application_does_not_grow_with_each_video(server: Server, tmp_path: Path) -> None:
    web = loaded("service_web", server, tmp_path)

    class Message:
        body = b"cat.mp4"

        async def ack(self) -> None:
            pass

    async def scene() -> None:
        await asyncio.gather(*(web.work(Message()) for _ in range(1000)))

    asyncio.run(scene())
    assert 0 < len(web.transcoded) < 1000


@pytest.mark.broker("redis")
def test_a_worker_that_hears_nothing_is_unhealthy(server: Server, tmp_path: Path) -> None:
    snippet = SNIPPETS / "best_practices" / "service_process" / "on_redis.py"
    with Stage.of("best_practices/service_process", "redis", server, tmp_path, seconds=30) as stage:
        # A file of its own, and a limit that a busy machine keeps.
        alive = tmp_path / "alive"
        stage.replace('Path(tempfile.gettempdir(), "transcoder.alive")', f'Path("{alive}")')
        text = snippet.read_text().replace(
            'Path(tempfile.gettempdir(), "transcoder.alive")', f'Path("{alive}")'
        )
        checker = tmp_path / "check.py"
        checker.write_text(text)

        def healthy() -> bool:
            run = subprocess.run([sys.executable, str(checker), "check"], check=False)
            return run.returncode == 0

        stage.call("declare")
        stage.call("submit", tasks=[CAT])
        worker = stage.spawn("work", mode="hold")
        assert stage.happens(lambda: bool(worker.taken), worker)
        # In the middle of a task, the renewal of its lease is what beats.
        assert stage.stays(healthy, 4)
        server.freeze()
        try:
            assert stage.happens(lambda: not healthy())
        finally:
            server.thaw()
