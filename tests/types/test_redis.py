"""Redis: its defaults on a server that nobody configured, and what full memory and a kill do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.brokers import Server
from tests.brokers.redis import Redis
from tests.patterns.stage import SnippetError, Stage

pytestmark = pytest.mark.broker(Redis.key)

DEFAULTS = {
    "appendonly": "no",
    "appendfsync": "everysec",
    "save": "3600 1 300 100 60 10000",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "min-replicas-to-write": "0",
    "proto-max-bulk-len": str(512 * 1024 * 1024),
    "protected-mode": "yes",
}


class Bare(Redis):
    """Redis as its maker ships it: no settings of ours but the place where it listens."""

    def command(self) -> list[str]:
        return self.source.command(
            "redis-server", "--port", str(self.port_number), "--dir", str(self.data)
        )


@contextmanager
def bare(server: Server) -> Iterator[Any]:
    """Return a client of a Redis with no settings."""
    with (
        server.another(Bare) as own,
        redis.Redis(host=own.host, port=own.port_number, decode_responses=True) as client,
    ):
        yield client


def test_defaults(server: Server) -> None:
    with bare(server) as client:
        assert {name: client.config_get(name)[name] for name in DEFAULTS} == DEFAULTS


def fill(client: Any) -> None:
    """Add entries of 10 KB until there is no more memory for them."""
    client.xgroup_create("tasks", "workers", "0", mkstream=True)
    client.config_set("maxmemory", str(client.info("memory")["used_memory"] + 5_000_000))
    for _ in range(2000):
        client.xadd("tasks", {"task": "x" * 10_000})


def test_full_memory_refuses_entries(server: Server) -> None:
    with bare(server) as client:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            fill(client)
        kept = client.xlen("tasks")
        assert kept > 0
        # Reading goes on, and so does acknowledging; deleting is what makes room.
        ((_, entries),) = client.xreadgroup("workers", "A", {"tasks": ">"}, count=1)
        number = entries[0][0]
        assert client.xack("tasks", "workers", number) == 1
        assert client.xdel("tasks", number) == 1


def test_an_eviction_policy_for_caches_takes_the_whole_stream(server: Server) -> None:
    with bare(server) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.xgroup_create("tasks", "workers", "0", mkstream=True)
        for _ in range(400):
            client.xadd("tasks", {"task": "x" * 10_000})
        client.config_set("maxmemory", str(client.info("memory")["used_memory"] - 1_000_000))
        client.set("another", "key")  # makes the server look for room
        assert not client.exists("tasks")
        with pytest.raises(redis.exceptions.ResponseError, match="NOGROUP"):
            client.xreadgroup("workers", "A", {"tasks": ">"}, count=1)


def test_xack_leaves_the_entry_in_the_stream(server: Server) -> None:
    with bare(server) as client:
        client.xgroup_create("tasks", "workers", "0", mkstream=True)
        number = client.xadd("tasks", {"task": "cat.mp4"})
        client.xreadgroup("workers", "A", {"tasks": ">"})
        assert client.xack("tasks", "workers", number) == 1
        assert client.xlen("tasks") == 1


def test_without_an_append_only_file_a_kill_loses_all_and_waitaof_confirms_nothing(
    server: Server, tmp_path: Path
) -> None:
    with server.another(Bare) as own:
        with Stage.of("patterns/work_queue", "redis", own, tmp_path) as stage:
            stage.call("declare")
            with pytest.raises(SnippetError, match="appendonly is disabled"):
                stage.call("submit", tasks=["transcode cat.mp4"])
        own.kill()
        own.start()
        with redis.Redis(host=own.host, port=own.port_number) as client:
            assert not client.keys()
