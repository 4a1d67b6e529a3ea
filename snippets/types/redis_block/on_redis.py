# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""With redis-py 8, a reader may not wait longer than its time limit."""

import inspect

from redis.asyncio import Redis
from redis.exceptions import TimeoutError as NoAnswerError

from redis_client import URL, run

QUEUE, GROUP, WORKER = "transcode", "workers", "A"
BLOCK = 400  # ms that the server shall wait for an entry


async def wait_for_entry(socket_timeout: float) -> str:
    async with Redis.from_url(URL, socket_timeout=socket_timeout) as redis:
        try:
            found = await redis.xreadgroup(
                GROUP, WORKER, {QUEUE: ">"}, block=BLOCK
            )
        except NoAnswerError:
            return "TimeoutError, as if the server were down"
        return f"{found}: nothing came, ask again"


async def main() -> None:
    default = inspect.signature(Redis).parameters["socket_timeout"].default
    print(f"redis-py waits for an answer for {default} s by default")
    async with Redis.from_url(URL) as redis:
        await redis.xgroup_create(QUEUE, GROUP, "0", mkstream=True)
    # A fifth of a second here, to be short. It is the ratio that matters.
    # None would be no limit: a silent connection is then waited for for ever.
    print("limit below BLOCK:", await wait_for_entry(0.2))
    print("limit above BLOCK:", await wait_for_entry(2.0))
    async with Redis.from_url(URL) as redis:
        await redis.delete(QUEUE)


if __name__ == "__main__":
    run(main)
