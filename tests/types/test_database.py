"""What a connection of the snippets to PostgreSQL does when the server or the way to it fails."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, timeout_from_conninfo

from tests.brokers import Server
from tests.brokers.postgresql import Postgresql
from tests.brokers.server import wait_until
from tests.patterns.home import load
from tests.patterns.stage import Stage
from tests.snippets.running import SNIPPETS, download

pytestmark = pytest.mark.broker(Postgresql.key)

ANSWER_SECONDS = "ANSWER_SECONDS = 20"
QUICK = 5
QUICKLY = f"ANSWER_SECONDS = {QUICK}"
#: psycopg asks the server to cancel the statement, and gives it 5 s twice.
CANCELLED = 10.0
SLACK = 60.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def swallowing(server: Server) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Yield the port of a proxy, and what makes its connections of today silent."""
    silent = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not silent.is_set():
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(server.host, server.port_number)
        writers.extend((writer, there[1]))
        pumps = pump(reader, there[1]), pump(there[0], writer)
        await asyncio.gather(*pumps, return_exceptions=True)

    listener = await asyncio.start_server(serve, "127.0.0.1")
    yield listener.sockets[0].getsockname()[1], silent
    listener.close()
    for writer in writers:
        writer.transport.abort()


def url(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def database(folder: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> Any:
    copy = folder / "database.py"
    text = (SNIPPETS / copy.name).read_text()
    assert text.count(ANSWER_SECONDS) == 1
    copy.write_text(text.replace(ANSWER_SECONDS, QUICKLY))
    monkeypatch.setenv("DATABASE_URL", address)
    return load(copy)


def test_a_silent_connection_ends_with_an_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with swallowing(server) as (port, silent):
            module = database(tmp_path, monkeypatch, url(port))
            async with module.connect() as db, module.connect() as listener:
                await listener.execute("LISTEN task")
                silent.set()
                start = time.monotonic()
                with pytest.raises(psycopg.OperationalError, match="does not answer"):
                    await db.execute("SELECT 1")
                with pytest.raises(psycopg.OperationalError, match="does not answer"):
                    async for _ in listener.notifies():
                        pass
                assert time.monotonic() - start < 2 * (QUICK + CANCELLED) + SLACK
                with pytest.raises(psycopg.OperationalError, match="closed"):
                    await db.execute("SELECT 1")

    asyncio.run(main())


def test_a_server_that_hangs_ends_the_wait_and_a_short_stop_does_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        module = database(tmp_path, monkeypatch, server.address)
        async with module.connect() as db, module.connect() as other:
            server.freeze()
            asyncio.get_running_loop().call_later(1, server.thaw)
            await db.execute("SELECT 1")
            server.freeze()
            try:
                with pytest.raises(psycopg.OperationalError, match="does not answer"):
                    await other.execute("SELECT 1")
            finally:
                server.thaw()

    asyncio.run(main())


#: What a connection is opened with besides its address: nothing, or all that TCP can do.
PLAIN = ""
KEEPALIVES = "?tcp_user_timeout=10000&keepalives_idle=5&keepalives_interval=2&keepalives_count=2"


@asynccontextmanager
async def three_ways(
    port: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Any]]:
    """Yield three connections: plain, with keepalives, and our module's with its own clock."""
    monkeypatch.setenv("DATABASE_URL", url(port))
    module = load(download(SNIPPETS / "database.py", folder))
    plain = await psycopg.AsyncConnection.connect(url(port), autocommit=True)
    kept = await psycopg.AsyncConnection.connect(url(port) + KEEPALIVES, autocommit=True)
    async with module.connect() as ours:
        yield [plain, kept, ours]


def test_after_a_kill_no_connection_comes_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with three_ways(own.port_number, tmp_path, monkeypatch) as ways:
            waits = [asyncio.ensure_future(db.execute("SELECT pg_sleep(600)")) for db in ways]
            await asyncio.sleep(1)
            await asyncio.to_thread(own.kill)
            for wait in waits:
                with pytest.raises(psycopg.OperationalError, match="closed"):
                    await wait
            await asyncio.to_thread(own.start)
            for db in ways * 2:
                with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
                    await db.execute("SELECT 1")

    with server.another(Postgresql) as own:
        asyncio.run(main())


def test_each_connection_lives_through_a_server_that_stands_still_for_10_s(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with three_ways(own.port_number, tmp_path, monkeypatch) as ways:
            await asyncio.to_thread(own.freeze)
            waits = [asyncio.ensure_future(db.execute("SELECT 1")) for db in ways]
            await asyncio.sleep(10)
            assert not any(wait.done() for wait in waits)
            own.thaw()
            await asyncio.gather(*waits)

    with server.another(Postgresql) as own:
        asyncio.run(main())


def test_only_our_clock_ends_the_wait_for_a_server_that_hangs_or_a_proxy_that_swallows(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seconds_until(error: type[Exception], says: str, wait: Any) -> float:
        begun = time.monotonic()
        with pytest.raises(error, match=says):
            await wait
        return time.monotonic() - begun

    async def anew() -> None:
        monkeypatch.setenv("DATABASE_URL", url(own.port_number))
        async with load(tmp_path / "database.py").connect():
            pass

    async def main() -> None:
        async with (
            swallowing(server) as (port, silent),
            three_ways(own.port_number, tmp_path, monkeypatch) as hung,
            three_ways(port, tmp_path, monkeypatch) as swallowed,
        ):
            silent.set()
            await asyncio.to_thread(own.freeze)
            new = (url(own.port_number) + options for options in (PLAIN, KEEPALIVES))
            begun: list[Any] = [db.execute("SELECT 1") for db in (*hung[:2], *swallowed[:2])]
            begun += [psycopg.AsyncConnection.connect(each) for each in new]
            waits = [asyncio.ensure_future(each) for each in begun]
            no_answer = psycopg.OperationalError, "does not answer"
            try:
                connecting, *asking = await asyncio.gather(
                    seconds_until(psycopg.errors.ConnectionTimeout, "timeout", anew()),
                    *(seconds_until(*no_answer, ways[2].execute("")) for ways in (hung, swallowed)),
                )
                assert not any(wait.done() for wait in waits)
            finally:
                own.kill()
                for db in swallowed[:2]:  # else psycopg waits for 10 s more, to cancel
                    with socket.socket(fileno=os.dup(db.fileno())) as line:
                        line.shutdown(socket.SHUT_RDWR)
                await asyncio.wait(waits)
            print(f"a new connection: {connecting:.1f} s; a hanging server, a proxy: {asking}")
            assert connecting < min(asking)
            assert min(asking) > 20

    with server.another(Postgresql) as own:
        asyncio.run(main())


def test_psycopg_gives_a_new_connection_130_s_with_keepalives_too() -> None:
    for options in (PLAIN, KEEPALIVES):
        assert timeout_from_conninfo(conninfo_to_dict(url(5432) + options)) == 130


class Pooler:
    """A pooler as PgBouncer's in transaction mode: each transaction has whichever session is free.

    The two sessions are its own. A client sends its next request when the last one is answered.
    """

    def __init__(self, server: Server) -> None:
        self.to = server.host, server.port_number
        self.free: asyncio.Queue[Streams] = asyncio.Queue()
        self.hello = b""

    @staticmethod
    async def message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        head = await reader.readexactly(5)
        body = await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        return head[:1], head + body

    async def open(self) -> None:
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*self.to)
            body = struct.pack("!i", 196_608) + b"user\0postgres\0database\0postgres\0\0"
            writer.write(struct.pack("!i", len(body) + 4) + body)
            kind, self.hello = b"", b""
            while kind != b"Z":
                kind, message = await self.message(reader)
                self.hello += message
            self.free.put_nowait((reader, writer))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        writer.write(self.hello)
        kind = b""
        while kind != b"X":
            kind, message = await self.message(reader)
            if kind == b"X":
                break
            session = await self.free.get()
            state = b""
            while state != b"I":  # to the end of the transaction
                session[1].write(message)
                while kind not in b"SQ":  # all of a request
                    kind, message = await self.message(reader)
                    session[1].write(message)
                answer = b""
                while answer != b"Z":
                    answer, message = await self.message(session[0])
                    writer.write(message)
                state = message[-1:]
                if state != b"I":
                    kind, message = await self.message(reader)
            self.free.put_nowait(session)
        writer.close()


@pytest.mark.parametrize("prepares", [False, True])
def test_behind_a_pooler_all_tasks_are_done(
    prepares: bool, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [f"transcode {number}.mp4" for number in range(60)]

    async def main() -> list[str]:
        pooler = Pooler(server)
        await pooler.open()
        listener = await asyncio.start_server(pooler.serve, "127.0.0.1")
        port = listener.sockets[0].getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", url(port) + "?sslmode=disable&gssencmode=disable")
        copy = download(SNIPPETS / "patterns" / "work_queue" / "on_postgresql.py", tmp_path)
        if prepares:
            beside = tmp_path / "database.py"
            text = beside.read_text()
            assert "prepare_threshold=None" in text
            beside.write_text(text.replace("prepare_threshold=None", "prepare_threshold=5"))
        load(tmp_path / "database.py")
        module = load(copy)
        done: list[str] = []

        async def note(task: str, _: int | None) -> None:
            done.append(task)
            await asyncio.sleep(0.01)

        async with module.connect() as db:
            await module.declare(db)
            await module.submit(db, tasks)
        workers = [asyncio.create_task(module.work(name, note)) for name in "AB"]
        deadline = time.monotonic() + 60
        while len(done) < len(tasks) and time.monotonic() < deadline:
            if all(worker.done() for worker in workers):
                break
            await asyncio.sleep(0.05)
        for worker in workers:
            worker.cancel()
        ended = await asyncio.gather(*workers, return_exceptions=True)
        listener.close()
        assert prepares == any("prepared statement" in str(error) for error in ended)
        return done

    done = asyncio.run(main())
    assert (sorted(done) == sorted(tasks)) is not prepares


@pytest.mark.parametrize("limited", [True, False])
def test_a_worker_that_fell_silent_lets_go_of_its_task(
    limited: bool, server: Server, tmp_path: Path
) -> None:
    """The server sees neither its end nor a broken connection: as if its machine had vanished."""
    if limited:
        with psycopg.connect(server.address, autocommit=True) as db:
            db.execute("ALTER ROLE postgres SET idle_in_transaction_session_timeout = '2s'")
    try:
        with Stage.of("patterns/work_queue", "postgresql", server, tmp_path) as stage:
            stage.call("declare")
            stage.call("submit", tasks=["transcode cat.mp4"])
            silent = stage.spawn("work", worker="A", mode="hold")
            wait_until(lambda: bool(silent.taken), "A to take the task")
            other = stage.spawn("work", worker="B")
            if limited:
                assert stage.happens(lambda: bool(other.done), other)
            else:
                assert stage.stays(lambda: not other.taken, 4)
    finally:
        with psycopg.connect(server.address, autocommit=True) as db:
            db.execute("ALTER ROLE postgres RESET idle_in_transaction_session_timeout")


def test_no_task_joins_the_transaction_of_another(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had been told is written would be gone if the other one rolls back."""
    copy = download(SNIPPETS / "patterns" / "work_queue" / "on_postgresql.py", tmp_path)
    monkeypatch.setenv("DATABASE_URL", server.address)
    load(tmp_path / "database.py")  # anew, with this address
    module: Any = load(copy)

    async def main() -> list[str]:
        async def first(db: Any) -> None:
            async with db.transaction():
                await module.submit(db, ["cat.mp4"])  # in a transaction of its own, inside
                with pytest.raises(psycopg.ProgrammingError, match=r"connect\(\) for each"):
                    await asyncio.create_task(module.submit(db, ["dog.mp4"]))

        async with module.connect() as db:
            await module.declare(db)
            await first(db)
            await module.submit(db, ["owl.mp4"])
            rows = await db.execute("SELECT body FROM task ORDER BY body")
            return [body for (body,) in await rows.fetchall()]

    assert asyncio.run(main()) == ["cat.mp4", "owl.mp4"]
