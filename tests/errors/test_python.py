"""What Python and asyncio say in a program that talks to a broker."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
import redis.asyncio
from aiokafka import AIOKafkaProducer
from nats.aio.client import Client

from tests.best_practices.test_tls import RedisTls
from tests.brokers import Server
from tests.conftest import Servers, emptied
from tests.errors.conftest import Hearing
from tests.errors.raised import error_by, error_of

#: Which task it is, and where its code stands.
TASK = {r"name='Task-\d+'": "name='Task-7'", r"coro=<.* at [^>]+:\d+>": "coro=<work() …>"}


@pytest.fixture
def broker(servers: Servers) -> Server:
    return emptied(servers, "redis")


def client_of(server: Server) -> Any:
    return redis.asyncio.Redis.from_url(server.address)


# Event loops.


def test_event_loop_is_closed(broker: Server, said: Hearing) -> None:
    client = client_of(broker)
    asyncio.run(client.ping())
    said(error_by(lambda: asyncio.run(client.ping())))


def test_attached_to_a_different_loop(broker: Server, said: Hearing) -> None:
    client = client_of(broker)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(client.ping())
    error = error_by(lambda: second.run_until_complete(client.ping()))
    first.run_until_complete(client.aclose())
    for loop in (first, second):
        loop.close()
    said(error, mask={r"Task <.*> got Future <.*>": "Task <…> got Future <…>"})


def test_bound_to_a_different_event_loop(said: Hearing) -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def wait() -> None:
        await asyncio.wait_for(queue.get(), 0.01)

    with suppress(TimeoutError):
        asyncio.run(wait())
    said(error_by(lambda: asyncio.run(wait())), mask={r"at 0x\w+": "at 0x7f00"})


def test_asyncio_run_cannot_be_called(said: Hearing) -> None:
    async def main() -> Exception:
        work = asyncio.sleep(0)
        error = error_by(lambda: asyncio.run(work))
        work.close()
        return error

    said(asyncio.run(main()))


def test_no_running_event_loop(said: Hearing) -> None:
    """A callback of a client that has a thread of its own begins a task, and makes a client."""

    async def work() -> None: ...

    def called() -> None:
        task = work()
        errors.append(error_by(lambda: asyncio.create_task(task)))
        task.close()
        errors.append(error_by(lambda: AIOKafkaProducer(bootstrap_servers="127.0.0.1:9092")))

    errors: list[Exception] = []
    thread = threading.Thread(target=called, name="paho-mqtt-client")
    thread.start()
    thread.join()
    for error in errors:
        said(error)


# Coroutines and tasks.


def test_coroutine_was_never_awaited(broker: Server, said: Hearing) -> None:
    def forget() -> None:
        client_of(broker).xadd("uploads", {"task": "cat.mp4"})
        gc.collect()

    with pytest.warns(RuntimeWarning, match="never awaited") as told:
        forget()
    [text] = [str(each.message) for each in told if each.category is RuntimeWarning]
    said(f"RuntimeWarning: {text}")


def test_async_for_requires_aiter(said: Hearing) -> None:
    async def main() -> Exception:
        subscribing = Client().subscribe("videos")

        async def work() -> None:
            async for _ in subscribing:  # type: ignore[attr-defined]
                pass

        error = await error_of(work())
        subscribing.close()
        return error

    said(asyncio.run(main()))


def test_cannot_reuse_already_awaited_coroutine(said: Hearing) -> None:
    async def main() -> Exception:
        attempt = asyncio.sleep(0)
        await attempt
        return await error_of(attempt)

    said(asyncio.run(main()))


def test_task_exception_was_never_retrieved(
    said: Hearing, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise ConnectionError("lost")

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(main())
    said(caplog.messages[-1], mask=TASK)


def test_task_was_destroyed_but_it_is_pending(
    said: Hearing, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(work())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task
    gc.collect()
    said(caplog.messages[-1], mask={**TASK, r"wait_for=<.*>(?=>)": "wait_for=<…>"})


def test_timeout_error_without_a_text(said: Hearing) -> None:
    async def main() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    said(error_by(lambda: asyncio.run(main())))


def test_cancelled_error(said: Hearing) -> None:
    async def main() -> BaseException:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, BaseException)
        return outcome

    said(asyncio.run(main()))


def test_unhandled_errors_in_a_taskgroup(said: Hearing) -> None:
    async def work() -> None:
        raise ConnectionError("lost")

    async def main() -> None:
        async with asyncio.TaskGroup() as workers:
            workers.create_task(work())

    said(error_by(lambda: asyncio.run(main())))


def test_invalid_state(said: Hearing) -> None:
    async def main() -> Exception:
        confirm: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        confirm.cancel()  # as a time limit does
        return error_by(lambda: confirm.set_result(0))

    said(asyncio.run(main()))


# Bytes and text.


def test_codec_cant_decode_byte(broker: Server, said: Hearing) -> None:
    with redis.Redis.from_url(broker.address, decode_responses=True) as client:
        client.xadd("uploads", {"task": b"\xff\xfe"})
        said(error_by(lambda: client.xrange("uploads")))


def test_expecting_value(said: Hearing) -> None:
    said(error_by(lambda: json.loads(b"")))


# Sockets.


@contextmanager
def resetting() -> Iterator[int]:
    """Listen, and answer the first request by a reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            # Not to linger means that closing it drops what is left, and says so to the other side.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()[1]
        server.join()


def test_connection_reset_by_peer(said: Hearing) -> None:
    async def plain(port: int) -> Exception:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PING\r\n")
        error = await error_of(reader.read())
        writer.close()
        return error

    with resetting() as port:
        said(asyncio.run(plain(port)))
    with resetting() as port, redis.Redis("127.0.0.1", port, retry=None) as client:  # type: ignore[arg-type]
        said(error_by(client.ping), client="redis", mask={str(port): "6379"})


def test_too_many_open_files(said: Hearing) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, hard))
        try:
            error = error_by(lambda: [socket.socket() for _ in range(1000)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    said(error)


def test_certificate_verify_failed(broker: Server, said: Hearing) -> None:
    with broker.another(RedisTls) as own:
        mask = {str(own.port_number): "6379", r"_ssl\.c:\d+": "_ssl.c:1000"}
        authority = {"ssl_ca_certs": f"{own.data}/ca.pem"}
        for host, options in (("127.0.0.1", {}), ("localhost", authority)):
            url = f"rediss://{host}:{own.port_number}"
            client: Any = redis.Redis.from_url(url, retry=None, **options)
            with client:
                said(error_by(client.ping), client="redis", mask=mask)
