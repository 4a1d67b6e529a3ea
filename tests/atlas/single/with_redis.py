"""What trials on Redis share: a stream, `videos`, with a group, `workers`, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.brokers import Server
from tests.brokers.redis import Redis

STREAM, GROUP = "videos", "workers"
#: An entry's id and its body.
Entry = tuple[str, str]


@contextmanager
def connected(server: Server, **options: Any) -> Iterator[Any]:
    """Connect with redis-py, with its own defaults but for text that is decoded."""
    with redis.Redis.from_url(server.address, decode_responses=True, **options) as client:
        yield client


def grouped(client: Any) -> None:
    """Create the stream and its group, which gets everything."""
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)


def add(client: Any, *bodies: object) -> list[str]:
    """Publish each body; return the ids that the entries got."""
    return [client.xadd(STREAM, {"body": str(body)}) for body in bodies]


def there(client: Any) -> list[str]:
    """Return the bodies of all entries in the stream, in its order."""
    return [fields["body"] for _, fields in client.xrange(STREAM)]


def read(client: Any, worker: str = "A", count: int = 1, start: str = ">") -> list[Entry]:
    """Read as one of the group: new entries, or, from a `start` on, what it has already."""
    found = client.xreadgroup(GROUP, worker, {STREAM: start}, count=count) or []
    return [(number, fields["body"]) for _, entries in found for number, fields in entries]


class Bare(Redis):
    """Redis as its maker ships it: snapshots now and then, and no append-only file."""

    def command(self) -> list[str]:
        return self.source.command(
            "redis-server", "--port", str(self.port_number), "--dir", str(self.data)
        )
