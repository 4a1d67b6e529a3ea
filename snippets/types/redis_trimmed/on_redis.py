# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""A length limit on Redis drops entries that nobody has read, in silence."""

from typing import Any

from redis.asyncio import Redis

from redis_client import URL, run

STREAM, GROUP = "uploads", "thumbnailer"
EVENTS = [f"{name}.mp4" for name in ("cat", "dog", "owl", "fox", "bee")]


async def lag(redis: Redis) -> int | None:
    """How many entries the group has not read yet, as the server says."""
    groups: Any = await redis.xinfo_groups(STREAM)
    found: int | None = groups[0]["lag"]
    return found


async def read(redis: Redis) -> list[str]:
    streams: Any = await redis.xreadgroup(GROUP, "A", {STREAM: ">"}, 10)
    return [fields["video"] for _, found in streams for _, fields in found]


async def main() -> None:
    async with Redis.from_url(URL, decode_responses=True) as redis:
        await redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        for video in EVENTS[:2]:
            await redis.xadd(STREAM, {"video": video})
        print("read, not acknowledged:", await read(redis))
        for video in EVENTS[2:]:
            await redis.xadd(STREAM, {"video": video})
        print(f"{await redis.xlen(STREAM)} entries, lag {await lag(redis)}")

        # What XADD does with MAXLEN. Exact here; "~" would spare some more.
        removed = await redis.xtrim(STREAM, maxlen=1, approximate=False)
        print(f"trimmed {removed}: no error, and no word to the group")
        print(f"{await redis.xlen(STREAM)} entry, lag {await lag(redis)}")
        print("read:", await read(redis))

        # The first two are still pending. Whoever claims them learns it.
        claimed: Any = await redis.xautoclaim(STREAM, GROUP, "B", 0)
        _, entries, gone = claimed
        print(f"claimed {len(entries)}, gone for ever {len(gone)}")
        await redis.delete(STREAM)


if __name__ == "__main__":
    run(main)
