"""Redis: its defaults on a server that nobody configured, and what full memory and a kill do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.brokers import Server
from tests.brokers.redis import Redis
from tests.brokers.server import wait_until
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


class Snapshots(Redis):
    """Redis with the save points that are its default, beside the append-only file."""

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("--save") + 1] = DEFAULTS["save"]
        return words


def test_a_snapshot_that_fails_stops_all_writing_reading_as_a_group_too(server: Server) -> None:
    with (
        server.another(Snapshots) as own,
        redis.Redis(host=own.host, port=own.port_number, decode_responses=True) as client,
    ):
        client.xgroup_create("tasks", "workers", "0", mkstream=True)
        number = client.xadd("tasks", {"task": "cat.mp4"})
        client.xadd("tasks", {"task": "dog.mp4"})
        client.xreadgroup("workers", "A", {"tasks": ">"}, count=1)
        (own.data / "dump.rdb").mkdir()  # in the way, as a full disk would be
        client.bgsave()
        wait_until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "the failure"
        )
        assert client.info("persistence")["aof_last_write_status"] == "ok"
        requests: list[Callable[[], Any]] = [
            lambda: client.xadd("tasks", {"task": "owl.mp4"}),
            lambda: client.xreadgroup("workers", "A", {"tasks": ">"}, count=1),
            lambda: client.xautoclaim("tasks", "workers", "B", 0),
            lambda: client.xack("tasks", "workers", number),
            lambda: client.xdel("tasks", number),
        ]
        for request in requests:
            with pytest.raises(redis.exceptions.ResponseError, match="MISCONF"):
                request()
        assert client.xlen("tasks") == 2  # without a group, reading goes on
        client.config_set("save", "")
        assert client.xack("tasks", "workers", number) == 1


def test_who_deletes_a_consumer_drops_what_it_held(server: Server) -> None:
    with bare(server) as client:
        client.xgroup_create("tasks", "workers", "0", mkstream=True)
        client.xadd("tasks", {"task": "cat.mp4"})
        client.xreadgroup("workers", "A", {"tasks": ">"})
        assert client.xgroup_delconsumer("tasks", "workers", "A") == 1  # pending entries
        assert client.xpending("tasks", "workers")["pending"] == 0
        assert client.xautoclaim("tasks", "workers", "B", 0)[1] == []
        assert client.xreadgroup("workers", "B", {"tasks": ">"}) in ([], {})
        assert client.xlen("tasks") == 1  # it is still there, and nobody's


def test_a_new_worker_does_what_a_dead_one_held_and_then_its_name_may_go(
    server: Server, tmp_path: Path
) -> None:
    with (
        Stage.of("patterns/work_queue", "redis", server, tmp_path) as stage,
        redis.Redis.from_url(server.address, decode_responses=True) as client,
    ):
        stage.call("declare")
        stage.call("submit", tasks=["transcode cat.mp4"])
        dead = stage.spawn("work", worker="pod-7f9c", mode="hold")
        assert stage.happens(lambda: bool(dead.taken), dead)
        dead.kill()
        [held] = client.xinfo_consumers("transcode", "workers")
        assert held["pending"] == 1  # what the page tells to look for, before you delete it
        new = stage.spawn("work", worker="pod-b2", limit=1)
        assert stage.happens(lambda: new.returned, new)
        assert new.done == ["transcode cat.mp4"]
        assert client.xgroup_delconsumer("transcode", "workers", "pod-7f9c") == 0
        assert client.xlen("transcode") == 0


def test_who_claims_first_may_delete_a_consumer(server: Server) -> None:
    with bare(server) as client:
        client.xgroup_create("tasks", "workers", "0", mkstream=True)
        number = client.xadd("tasks", {"task": "cat.mp4"})
        client.xreadgroup("workers", "A", {"tasks": ">"})
        assert [entry[0] for entry in client.xautoclaim("tasks", "workers", "B", 0)[1]] == [number]
        assert client.xgroup_delconsumer("tasks", "workers", "A") == 0
        assert client.xpending("tasks", "workers")["consumers"][0]["name"] == "B"


def test_a_read_without_a_count_takes_all(server: Server) -> None:
    with redis.Redis.from_url(server.address) as client:
        with client.pipeline(transaction=False) as entries:
            for number in range(3000):
                entries.xadd("transcode", {"task": number})
            entries.execute()
        client.xgroup_create("transcode", "workers", "0")
        [(_, taken)] = client.xreadgroup("workers", "A", {"transcode": ">"})
        assert len(taken) == 3000
