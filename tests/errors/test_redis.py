"""What Redis and redis-py say when something is wrong, and what has to be done to be told so."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

from tests.brokers import Server
from tests.brokers.redis import Redis
from tests.brokers.server import answers, free_port, wait_until
from tests.errors.conftest import Hearing
from tests.errors.raised import error_by, error_of

pytestmark = pytest.mark.broker(Redis.key)

ADD = ("XADD", "uploads", "*", "task", "cat.mp4")


@contextmanager
def client_of(server: Server, **options: Any) -> Iterator[Any]:
    """Yield a client that decodes, tries once, and says what it met."""
    settings = {"decode_responses": True, "retry": None, "socket_timeout": 60, **options}
    with redis.Redis.from_url(server.address, **settings) as client:
        yield client


def refusal(server: Server, ask: Callable[[Any], Any], **options: Any) -> Exception:
    """Return the error of a request."""
    with client_of(server, **options) as client:
        return error_by(lambda: ask(client))


def interrupted(server: Server, interrupt: Callable[[Any, int], Any]) -> Exception:
    """Return the error of a client that waits for an entry; `interrupt` gets its number."""
    with client_of(server) as reader, client_of(server) as other, ThreadPoolExecutor() as pool:
        number = reader.client_id()
        waiting = pool.submit(error_by, lambda: reader.xread({"quiet": "$"}, block=0))
        wait_until(lambda: "b" in other.client_list(client_id=[number])[0]["flags"], "it to wait")
        interrupt(other, number)
        return waiting.result()


def printed(server: Server, *words: str, lines: str = "") -> str:
    """Return what redis-cli prints of a command: it has the word that redis-py leaves out."""
    command = server.source.command("redis-cli", "-p", str(server.port_number), "--no-raw", *words)
    return subprocess.run(command, input=lines, capture_output=True, text=True, check=False).stdout


class Configured(Redis):
    """A server with more settings on its command line."""

    more: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*super().command(), *self.more]


# Streams and groups.


def test_nogroup(server: Server, said: Hearing) -> None:
    said(refusal(server, lambda r: r.xreadgroup("workers", "A", {"nogroup": ">"})))


def test_busygroup(server: Server, said: Hearing) -> None:
    def ask(r: Any) -> None:
        for _ in range(2):
            r.xgroup_create("busygroup", "workers", mkstream=True)

    said(refusal(server, ask))


def test_xgroup_requires_the_key_to_exist(server: Server, said: Hearing) -> None:
    said(refusal(server, lambda r: r.xgroup_create("missing", "workers")))


def test_id_is_equal_or_smaller(server: Server, said: Hearing) -> None:
    def ask(r: Any) -> None:
        for number in ("2-0", "1-0"):
            r.xadd("ids", {"task": "cat.mp4"}, id=number)

    said(refusal(server, ask))


def test_wrongtype(server: Server, said: Hearing) -> None:
    def ask(r: Any) -> None:
        r.rpush("tasks:list", "cat.mp4")
        r.xadd("tasks:list", {"task": "cat.mp4"})

    said(refusal(server, ask))


def test_invalid_input_of_type(server: Server, said: Hearing) -> None:
    said(refusal(server, lambda r: r.xadd("uploads", {"owner": None})))


def test_unblocked(server: Server, said: Hearing) -> None:
    with server.another(Redis) as own:
        said(interrupted(own, lambda other, _: other.replicaof("127.0.0.1", "1")))


# Scripts and transactions.


def test_noscript(server: Server, said: Hearing) -> None:
    said(printed(server, "EVALSHA", "0" * 40, "0"), client="redis-cli")
    said(refusal(server, lambda r: r.evalsha("0" * 40, 0)))


def test_execabort(server: Server, said: Hearing) -> None:
    said(printed(server, lines="MULTI\nXADD uploads\nEXEC\n"), client="redis-cli")
    said(refusal(server, lambda r: r.pipeline().execute_command("XADD", "uploads").execute()))


def test_watched_variable_changed(server: Server, said: Hearing) -> None:
    def ask(r: Any) -> None:
        with r.pipeline() as transaction:
            transaction.watch("watched")
            r.set("watched", "other")
            transaction.multi()
            transaction.set("watched", "ours")
            transaction.execute()

    said(refusal(server, ask))


def test_busy(server: Server, said: Hearing) -> None:
    class Impatient(Configured):
        more = ("--busy-reply-threshold", "1")

    heard: list[Exception] = []

    def refused() -> bool:
        try:
            other.get("x")
        except redis.ResponseError as error:
            heard.append(error)
        return bool(heard)

    with (
        server.another(Impatient) as own,
        client_of(own) as running,
        client_of(own) as other,
        ThreadPoolExecutor() as pool,
    ):
        script = pool.submit(error_by, lambda: running.eval("while true do end", 0))
        wait_until(refused, "the script to run")
        other.script_kill()
        script.result()
        said(heard[0])


# Clusters and replicas.


class Cluster(Configured):
    """A node that takes part in a cluster, and answers what it can before it has met others."""

    def prepare(self) -> None:
        super().prepare()
        self.bus = free_port()
        self.more = (
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus)),
            *("--cluster-allow-reads-when-down", "yes"),
        )


def test_clusterdown(server: Server, said: Hearing) -> None:
    with server.another(Cluster) as own:
        said(printed(own, *ADD), client="redis-cli")
        said(refusal(own, lambda r: r.xadd("uploads", {"task": "cat.mp4"})))


def test_crossslot(server: Server, said: Hearing) -> None:
    with server.another(Cluster) as own, client_of(own) as admin:
        admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        said(printed(own, "DEL", "transcode", "dead"), client="redis-cli")
        said(refusal(own, lambda r: r.delete("transcode", "dead")))


def test_moved(server: Server, said: Hearing) -> None:
    with (
        server.another(Cluster) as own,
        server.another(Cluster) as second,
        client_of(own) as admin,
        client_of(second) as other,
    ):
        number = other.execute_command("CLUSTER MYID")
        admin.execute_command("CLUSTER MEET", second.host, second.port_number, second.bus)

        def known() -> bool:
            return any(node["node_id"] == number for node in admin.cluster("nodes").values())

        wait_until(known, "the nodes to know each other")
        slot = admin.execute_command("CLUSTER KEYSLOT", "uploads")
        admin.execute_command("CLUSTER SETSLOT", slot, "NODE", number)
        mask = {str(second.port_number): "6380"}
        said(printed(own, "XRANGE", "uploads", "-", "+"), client="redis-cli", mask=mask)
        said(refusal(own, lambda r: r.xrange("uploads")), mask=mask)


def test_readonly(server: Server, said: Hearing) -> None:
    class Replica(Configured):
        more = ("--replicaof", "127.0.0.1", "1")

    with server.another(Replica) as own:
        said(printed(own, *ADD), client="redis-cli")
        said(refusal(own, lambda r: r.xadd("uploads", {"task": "cat.mp4"})))


def test_masterdown(server: Server, said: Hearing) -> None:
    class Replica(Configured):
        more = ("--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "no")

        def ready(self) -> bool:
            return answers(self.host, self.port_number, b"PING\r\n", b"-MASTERDOWN")

    with server.another(Replica) as own:
        said(printed(own, "XRANGE", "uploads", "-", "+"), client="redis-cli")
        said(refusal(own, lambda r: r.xrange("uploads")))


def test_noreplicas(server: Server, said: Hearing) -> None:
    class Careful(Configured):
        more = ("--min-replicas-to-write", "1")

    with server.another(Careful) as own:
        said(refusal(own, lambda r: r.xadd("uploads", {"task": "cat.mp4"})))


# Memory and disk.


def test_oom(server: Server, said: Hearing) -> None:
    class Full(Configured):
        more = ("--maxmemory", "1")

    with server.another(Full) as own:
        said(printed(own, *ADD), client="redis-cli")
        said(refusal(own, lambda r: r.xadd("uploads", {"task": "cat.mp4"})))


def test_misconf(server: Server, said: Hearing) -> None:
    class Snapshots(Configured):
        more = ("--save", "3600 1")

    def ask(r: Any) -> None:
        (own.data / "dump.rdb").mkdir()  # in the way, as a full disk would be
        r.bgsave()
        wait_until(lambda: r.info("persistence")["rdb_last_bgsave_status"] == "err", "the failure")
        r.xadd("uploads", {"task": "cat.mp4"})

    with server.another(Snapshots) as own:
        said(refusal(own, ask))


def test_loading(server: Server, said: Hearing) -> None:
    class Slow(Configured):
        """It answers while it loads, and takes 20 ms for each key."""

        def ready(self) -> bool:
            return answers(self.host, self.port_number, b"PING\r\n")

    with server.another(Slow) as own:
        with client_of(own) as r:
            r.mset({str(number): "film" * 300 for number in range(3_000)})
            r.config_set("rdbcompression", "no")
            r.config_set("appendonly", "no")
            r.save()
        own.kill()
        Slow.more = (
            *("--appendonly", "no", "--key-load-delay", "20000"),
            *("--loading-process-events-interval-bytes", "1024"),
        )
        own.start()
        said(printed(own, *ADD), client="redis-cli")
        said(refusal(own, lambda r: r.xadd("uploads", {"task": "cat.mp4"})))


def test_appendonly_is_disabled(server: Server, said: Hearing) -> None:
    class Forgetful(Configured):
        more = ("--appendonly", "no")

    with server.another(Forgetful) as own:
        said(refusal(own, lambda r: r.execute_command("WAITAOF", 1, 0, 1000)))


# Who may.


class Guarded(Configured):
    """A server with a password, and an account that may only add."""

    more = (
        "--requirepass",
        "secret",
        "--user",
        *["uploader", "on", ">u", "~uploads", "+xadd", "+client"],
    )

    def ready(self) -> bool:
        return answers(self.host, self.port_number, b"PING\r\n", b"-NOAUTH")


def test_noauth(server: Server, said: Hearing) -> None:
    with server.another(Guarded) as own:
        said(printed(own, *ADD), client="redis-cli")
        said(refusal(own, lambda r: r.xadd("uploads", {"task": "cat.mp4"})))


def test_wrongpass(server: Server, said: Hearing) -> None:
    with server.another(Guarded) as own:
        said(printed(own, "AUTH", "uploader", "wrong"), client="redis-cli")
        said(refusal(own, lambda r: r.ping(), username="uploader", password="wrong"))


def test_noperm(server: Server, said: Hearing) -> None:
    account = ("--no-auth-warning", "--user", "uploader", "--pass", "u")
    with server.another(Guarded) as own, client_of(own, username="uploader", password="u") as r:
        for words in (("XRANGE", "uploads", "-", "+"), ("XADD", "invoices", "*", "task", "cat")):
            said(printed(own, *account, *words), client="redis-cli")
            with pytest.raises(redis.ResponseError) as caught:
                r.execute_command(*words)
            said(caught.value)


# The connection.


def test_connection_refused(server: Server, said: Hearing) -> None:
    port = free_port()
    url = server.address.replace(str(server.port_number), str(port))
    with redis.Redis.from_url(url, retry=None) as client:
        said(error_by(client.ping), mask={str(port): "6379"})


def test_timeout_reading_from_socket(server: Server, said: Hearing) -> None:
    def ask(r: Any) -> None:
        r.xread({"quiet": "$"}, block=10_000)

    said(refusal(server, ask, socket_timeout=0.1))

    async def asking() -> Exception:
        client: Any = redis.asyncio.Redis.from_url(server.address, socket_timeout=0.1, retry=None)
        async with client:
            return await error_of(client.xread({"quiet": "$"}, block=10_000))

    said(asyncio.run(asking()))


def test_connection_closed_by_server(server: Server, said: Hearing) -> None:
    said(interrupted(server, lambda other, number: other.client_kill_filter(_id=number)))


def test_max_number_of_clients_reached(server: Server, said: Hearing) -> None:
    with server.another(Redis) as own, client_of(own) as first:
        first.config_set("maxclients", 1)
        said(refusal(own, lambda r: r.ping()))


def test_too_many_connections(server: Server, said: Hearing) -> None:
    def ask(r: Any) -> None:
        r.connection_pool.get_connection()
        r.ping()

    said(refusal(server, ask, max_connections=1))


def test_unknown_command(server: Server, said: Hearing) -> None:
    """The command came with 8.2."""
    if not server.at_least(8, 2):
        words = ("XACKDEL", "uploads", "workers", "IDS", "1", "0-1")
        said(refusal(server, lambda r: r.execute_command(*words)))
