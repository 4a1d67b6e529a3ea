# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Least privilege on Redis: one account adds to a stream, one reads it."""

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from redis_client import URL, run

# `reset` leaves nothing of an older account. %W may write, %R may read.
# These are the commands of the work queue. An administrator made its group.
TAKE = "+xreadgroup +xautoclaim +xclaim +xpending"
RULES = {
    "uploader": "reset on %W~uploads +xadd +waitaof",
    "worker": f"reset on ~uploads {TAKE} +xack +xdel +multi +exec",
}


async def create(admin: Redis, account: str) -> Redis:
    """Make the account, with a new password, and return its client."""
    password = secrets.token_urlsafe()
    rules = [*RULES[account].split(), f">{password}"]
    send: Callable[..., Awaitable[object]] = admin.execute_command
    await send("ACL", "SETUSER", account, *rules)
    # In the address: whose login is there, its rights would be used instead.
    server = urlsplit(URL)
    host = server.netloc.rpartition("@")[2]
    own = server._replace(netloc=f"{account}:{password}@{host}").geturl()
    return Redis.from_url(own, retry=None)


async def attempt(what: str, request: Awaitable[object]) -> None:
    try:
        await request
    except NoPermissionError:
        print(f"  {what}: refused")
    else:
        print(f"  {what}: done")


async def main() -> None:
    async with Redis.from_url(URL) as admin:
        await admin.xgroup_create("uploads", "workers", id="0", mkstream=True)
        try:
            async with await create(admin, "uploader") as uploader:
                print("uploader")
                add = uploader.xadd("uploads", {"video": "cat.mp4"})
                await attempt("add to uploads", add)
                other = uploader.xadd("invoices", {"euro": "1000000"})
                await attempt("add to invoices", other)
                await attempt("read uploads", uploader.xrange("uploads"))
                await attempt("delete all", uploader.flushall())
            async with await create(admin, "worker") as worker:
                print("worker")
                take = worker.xreadgroup("workers", "A", {"uploads": ">"})
                await attempt("take from uploads", take)
                add = worker.xadd("uploads", {"video": "dog.mp4"})
                await attempt("add to uploads", add)
                await attempt("see the settings", worker.config_get("*"))
        finally:
            await admin.acl_deluser(*RULES)


if __name__ == "__main__":
    run(main)
