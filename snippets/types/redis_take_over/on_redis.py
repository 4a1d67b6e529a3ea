# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""On Redis, who takes over a dead worker's task, and how to hand one back."""

from typing import Any

from redis.asyncio import Redis

from redis_client import URL, run

QUEUE, GROUP = "transcode", "workers"
LEASE = 30_000  # ms without a sign of life, then others may take the task


async def take_new(redis: Redis, worker: str) -> list[str]:
    streams: Any = await redis.xreadgroup(GROUP, worker, {QUEUE: ">"}, 1)
    return [number for _, found in streams for number, _ in found]


async def take_over(redis: Redis, worker: str, idle: int) -> list[str]:
    claimed: Any = await redis.xautoclaim(QUEUE, GROUP, worker, idle)
    return [number for number, _ in claimed[1]]


async def hand_back(redis: Redis, worker: str, number: str) -> None:
    """Un-claim: the task looks as if it had been idle for a whole lease."""
    # JUSTID: this is no delivery. The server counts those.
    await redis.xclaim(
        QUEUE, GROUP, worker, 0, [number], idle=LEASE, justid=True
    )


async def show(redis: Redis, when: str) -> None:
    held: Any = await redis.xpending_range(QUEUE, GROUP, "-", "+", 10)
    for task in held:
        owner, count = task["consumer"], task["times_delivered"]
        print(f"{when}: held by {owner}, delivery {count}")


async def main() -> None:
    async with Redis.from_url(URL, decode_responses=True) as redis:
        await redis.xgroup_create(QUEUE, GROUP, "0", mkstream=True)
        await redis.xadd(QUEUE, {"task": "transcode cat.mp4"})

        (number,) = await take_new(redis, "A")
        await show(redis, "A took it and died")
        print("B reads on, and gets:", await take_new(redis, "B"))
        print(
            "B claims too early, and gets:", await take_over(redis, "B", LEASE)
        )

        # We do not wait 30 s here: B claims whatever the idle time is.
        assert await take_over(redis, "B", 0) == [number]
        await show(redis, "B claimed it")

        await hand_back(redis, "B", number)
        await show(redis, "B shut down and handed it back")
        assert await take_over(redis, "C", LEASE) == [number]
        await show(redis, "C claimed it at once")

        await redis.xack(QUEUE, GROUP, number)
        left: Any = await redis.xpending(QUEUE, GROUP)
        length = await redis.xlen(QUEUE)
        print(f"after XACK: pending {left['pending']}, in the stream {length}")
        await redis.delete(QUEUE)


if __name__ == "__main__":
    run(main)
