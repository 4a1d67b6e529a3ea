# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10", "pytest>=9"]
# ///
"""A worker's crash, tested on a real RabbitMQ, by a test that can fail."""

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest

from rabbitmq_client import connect, declare_queue, publish, run


async def work(name: str, acknowledge: str) -> None:
    """The worker under test: takes a task, and never gets to its end."""
    async with connect() as channel:
        queue = await channel.get_queue(name)
        async with queue.iterator(no_ack=acknowledge == "before") as messages:
            async for message in messages:
                print("took", message.body.decode(), flush=True)
                await asyncio.Event().wait()  # This is the task.
                await message.ack()


async def until(
    condition: Callable[[], Awaitable[bool]], seconds: float = 10
) -> bool:
    """Poll: as quick as the broker is, and patient when it is slow."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def survives(name: str, acknowledge: str, seconds: float) -> bool:
    async with connect() as channel:
        queue = await declare_queue(channel, name, {})
        await publish(channel, name, b"cat.mp4")
        command = [sys.executable, __file__, name, acknowledge]
        worker = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE
        )
        assert worker.stdout
        assert await worker.stdout.readline() == b"took cat.mp4\n"
        worker.kill()  # With SIGKILL, it does not even say goodbye.
        await worker.wait()

        async def is_there() -> bool:
            message = await queue.get(no_ack=True, fail=False)
            return message is not None and bool(message.redelivered)

        try:
            return await until(is_there, seconds)
        finally:
            await channel.queue_delete(name)


@pytest.fixture
def name() -> str:
    return f"test.{uuid.uuid4()}"  # no test meets another one's messages


def test_a_killed_workers_task_comes_again(name: str) -> None:
    assert asyncio.run(survives(name, "after", seconds=10))


def test_that_this_can_fail(name: str) -> None:
    assert not asyncio.run(survives(name, "before", seconds=1))


class Report:
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            print(f"{report.head_line}: {report.outcome}")


async def main() -> None:
    quiet = ["-p", "no:terminal", "-p", "no:cacheprovider"]
    # It has a thread of its own, as each test starts an event loop.
    await asyncio.to_thread(pytest.main, [*quiet, __file__], [Report()])


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(work(*sys.argv[1:]))
    run(main)
