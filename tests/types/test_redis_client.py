"""The module that Redis's snippets share: a fault ends with its cause, or is lived through."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from redis.exceptions import RedisError

from handbook.brokers import addressed_in
from tests.brokers import Server, make
from tests.brokers.clients import comes
from tests.brokers.proxy import Proxy
from tests.brokers.redis import Redis
from tests.brokers.server import free_port, wait_until
from tests.patterns.home import load
from tests.patterns.stage import Stage
from tests.snippets.running import SNIPPETS, run_with_python, whole_code

pytestmark = pytest.mark.broker(Redis.key)

ALL = sorted(SNIPPETS.glob("*/*/on_redis.py"))
PATIENCE = 90  # seconds


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    load(SNIPPETS / "patterns" / "work_queue" / "on_redis.py")
    module = sys.modules["redis_client"]
    monkeypatch.setattr(module, "URL", server.address)
    monkeypatch.setattr(module, "SECONDS", 4.0)
    monkeypatch.setattr(module, "BLOCK", 200)
    return module


@contextmanager
def behind_a_proxy(client: ModuleType, server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port_number)
    client.URL = f"redis://127.0.0.1:{proxy.port}/0"  # type: ignore[attr-defined]
    try:
        yield proxy
    finally:
        proxy.close()


async def idle(client: Any, worker: str = "A") -> None:
    """Be a worker that waits for an entry."""
    async with client.connect() as its:
        await client.create_group(its, "transcode", "workers")
        queue = client.Worker(its, "transcode", "workers", worker, 2_000)
        while True:
            await queue.take()


async def waits(server: Redis) -> None:
    """Return when a worker waits on the server: what comes before ends with another cause."""

    async def is_there() -> bool:
        return "blocked_clients:1" in await asyncio.to_thread(server._ask, "INFO clients")

    await comes(is_there, PATIENCE)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (lambda proxy, _: proxy.cut(), "Connection closed by server"),
        (lambda proxy, _: proxy.silence(), "Timeout reading from"),
        (lambda _, server: server.freeze(), "Timeout reading from"),
        (lambda _, server: server.kill(), "Connection closed by server"),
        (lambda _, server: server.empty(), "NOGROUP|UNBLOCKED"),
    ],
    ids=["cut", "silence", "hung", "killed", "deleted"],
)
def test_a_worker_that_waits_ends_with_the_cause(
    client: ModuleType, server: Server, fault: Callable[[Proxy, Server], None], cause: str
) -> None:
    async def run() -> None:
        worker = asyncio.create_task(idle(client))
        await waits(own)
        await asyncio.to_thread(fault, proxy, own)
        with pytest.raises(RedisError, match=cause):
            await asyncio.wait_for(worker, PATIENCE)

    with server.another(Redis) as own, behind_a_proxy(client, own) as proxy:
        asyncio.run(run())


def test_a_worker_lives_through_a_freeze_that_is_shorter(
    client: ModuleType, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SECONDS", 15.0)

    async def run() -> None:
        worker = asyncio.create_task(idle(client))
        await waits(own)
        own.freeze()
        await asyncio.sleep(6)  # more than redis-py's own limit, 5 s
        own.thaw()
        await asyncio.sleep(0.5)
        assert not worker.done()
        worker.cancel()
        await asyncio.wait([worker], timeout=PATIENCE)
        assert worker.cancelled()

    with server.another(Redis) as own, behind_a_proxy(client, own):
        asyncio.run(run())


def test_a_publisher_is_served_again(client: ModuleType, server: Server) -> None:
    async def run() -> None:
        async with client.connect() as its:
            await client.add(its, [("views", {"event": "cat"})])
            for fault in (proxy.cut, proxy.silence):
                fault()
                await asyncio.sleep(0.2)
                with suppress(RedisError):  # one call may raise, and says so
                    await asyncio.wait_for(client.add(its, [("views", {"event": "dog"})]), PATIENCE)
                await asyncio.wait_for(client.add(its, [("views", {"event": "owl"})]), PATIENCE)

    with behind_a_proxy(client, server) as proxy:
        asyncio.run(run())


def test_whoever_is_cancelled_ends(client: ModuleType) -> None:
    """Also on Python 3.11, where the sending of a command may swallow a cancellation."""

    async def run() -> None:
        vars(client)["BLOCK"] = 1
        workers = [asyncio.create_task(idle(client, f"pod-{number}")) for number in range(30)]
        await asyncio.sleep(1)
        for worker in workers:
            worker.cancel()
            await asyncio.sleep(0.003)
        done, _ = await asyncio.wait(workers, timeout=PATIENCE)
        assert len(done) == len(workers)
        assert all(worker.cancelled() for worker in workers)

    asyncio.run(run())


def test_a_turn_that_fails_ends_all_turns_of_its_worker(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of tasks cancels the others once: one that swallowed it would work on for ever."""
    snippet: Any = load(SNIPPETS / "best_practices" / "service_handlers" / "on_redis.py")
    monkeypatch.setattr(client.Worker.take, "__defaults__", (1, 1))  # it waits for 1 ms

    async def fail(task: str) -> None:
        raise RuntimeError(task)

    async def run() -> None:
        async with client.connect() as its:
            for number in range(10):
                await its.flushall()
                await snippet.declare(its)
                worker = asyncio.create_task(snippet.work(fail, 20))
                await asyncio.sleep(0.1)
                await snippet.submit(its, [f"cat-{number}.mp4"])
                done, _ = await asyncio.wait([worker], timeout=PATIENCE)
                assert done
                assert str(worker.exception()) == f"cat-{number}.mp4"

    asyncio.run(run())


def test_a_requestor_is_served_again_after_its_connection_was_cut(
    client: ModuleType, server: Server
) -> None:
    snippet: Any = load(SNIPPETS / "patterns" / "request_reply" / "on_redis.py")

    async def probe(video: str) -> str:
        return f"{video}: 7 min"

    async def replier() -> None:
        while True:  # as a supervisor does
            with suppress(RedisError):
                await snippet.serve("replier", probe)

    async def run() -> None:
        async with client.connect() as its:
            await snippet.declare(its)
        replies = asyncio.create_task(replier())
        async with snippet.requestor() as request:
            assert await request("cat.mp4", 20) == "cat.mp4: 7 min"
            for fault in (proxy.cut, proxy.silence):
                fault()
                await asyncio.sleep(0.2)
                with suppress(RedisError, TimeoutError):
                    await request("dog.mp4", 5)
                assert await request("owl.mp4", 20) == "owl.mp4: 7 min"
        replies.cancel()
        await asyncio.wait([replies], timeout=PATIENCE)

    with behind_a_proxy(client, server) as proxy:
        asyncio.run(run())


def test_a_replier_replies_to_no_other_key(client: ModuleType) -> None:
    snippet: Any = load(SNIPPETS / "patterns" / "request_reply" / "on_redis.py")

    async def probe(video: str) -> str:
        return video

    async def run() -> None:
        async with client.connect() as its:
            await snippet.declare(its)
            request = {"body": "cat", "correlation_id": "1", "seconds": 30}
            await its.xadd(snippet.REQUESTS, request | {"reply_to": "invoices"})
            replier = asyncio.create_task(snippet.serve("replier", probe))
            # It settles the request, and adds no reply.
            with redis.Redis.from_url(client.URL) as looking:
                settled = partial(_is_empty, looking, snippet.REQUESTS)
                await asyncio.to_thread(wait_until, settled, "the request to be settled")
            assert not await its.exists("invoices")
            replier.cancel()

    asyncio.run(run())


def _is_empty(looking: Any, stream: str) -> bool:
    return not looking.xlen(stream)


class Cluster(Redis):
    """One node that has all slots of a cluster."""

    def command(self) -> list[str]:
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(free_port())]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = make(Redis.key)
    found.close()
    with found.another(Cluster) as own, redis.Redis.from_url(own.address) as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: admin.cluster("info")["cluster_state"] == "ok", "the cluster")
        yield own


@pytest.mark.parametrize("snippet", ALL, ids=lambda path: path.parent.name)
def test_each_snippet_runs_on_a_cluster(
    snippet: Path,
    cluster: Cluster,
    addresses: Callable[[str], dict[str, str]],
    tmp_path: Path,
) -> None:
    cluster.empty()
    places = addresses(whole_code(snippet)) | cluster.environment_of_clients
    assert len(places) == len(addressed_in(whole_code(snippet)))
    printed = run_with_python(snippet, tmp_path, places)
    assert printed == snippet.with_suffix(".out").read_text()


def test_a_name_without_a_tag_is_refused_by_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    with Stage.of("patterns/dead_letter_channel", Redis.key, cluster, tmp_path) as stage:
        stage.replace('"{transcode}:dead"', '"dead"')
        cluster.empty()
        stage.call("declare")
        stage.call("submit", messages=["video=owl.mp4"])
        worker = stage.spawn("work", worker="A", limit=1)
        assert stage.happens(lambda: worker.returned, worker)
        again = stage.spawn("dead", redrive=True)
        assert stage.happens(lambda: again.ended, again)
        assert "CrossSlot" in again.error


@pytest.mark.parametrize("protocol", [2, 3])
def test_an_address_may_name_the_protocol(client: ModuleType, protocol: int) -> None:
    """The client's answers have another shape when version 3 is asked for, though it is used."""
    client.URL += f"?protocol={protocol}"  # type: ignore[attr-defined]

    async def scene() -> list[Any]:
        async with client.connect() as its:
            await client.create_group(its, "transcode", "workers")
            await client.add(its, [("transcode", {"task": "cat.mp4"})])
            taken = await client.Worker(its, "transcode", "workers", "A", 2_000).take()
            return [fields for _, fields in taken + await client.look_behind(its, "transcode")]

    assert asyncio.run(scene()) == [{"task": "cat.mp4"}] * 2


def test_a_stream_keeps_no_more_than_it_is_told(client: ModuleType) -> None:
    """Redis drops whole blocks, of 100 entries, so that somewhat more may stay."""

    async def scene() -> int:
        async with client.connect() as its:
            await client.add(its, [("views", {"video": "cat.mp4"})] * 1000, keep=100)
            return int(await its.xlen("views"))

    assert 100 <= asyncio.run(scene()) < 1000


def test_what_is_settled_is_neither_there_nor_pending(client: ModuleType) -> None:
    async def scene() -> tuple[int, int]:
        async with client.connect() as its:
            await client.create_group(its, "transcode", "workers")
            await client.add(its, [("transcode", {"task": "cat.mp4"})])
            worker = client.Worker(its, "transcode", "workers", "A", 2_000)
            [(number, _)] = await worker.take()
            await worker.settle(number)
            pending = await its.xpending("transcode", "workers")
            return await its.xlen("transcode"), pending["pending"]

    assert asyncio.run(scene()) == (0, 0)


def test_a_lock_says_who_has_it(client: ModuleType) -> None:
    async def run() -> None:
        async with client.connect() as its, client.locked(its, "hot", "pod-1", 60) as ours:
            assert ours
            assert (await its.get("hot")).startswith("pod-1 ")
            async with client.locked(its, "hot", "pod-2", 60) as theirs:
                assert not theirs

    asyncio.run(run())
