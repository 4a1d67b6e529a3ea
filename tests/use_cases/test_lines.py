"""What a use case's page says of its run: the line that carries it, and the cases beside it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NamedTuple

import nats
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from tests.brokers import Server
from tests.brokers.server import wait_until
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS, download, run, run_changed


class Line(NamedTuple):
    """Text that a snippet has once, what to put in its place, and what is printed then."""

    snippet: str
    text: str
    instead: str
    prints: str


LINES = {
    "the offset commits with the counts": Line(
        "stream_processing/on_kafka.py",
        "{place: views[-1].offset + 1}, JOB",
        "{place: 0}, JOB",
        "'dog from 0': 2",
    ),
    "an aborted count is not read": Line(
        "stream_processing/on_kafka.py",
        '"read_committed"',
        '"read_uncommitted"',
        "'cat from 60': 1, 'dog from 120': 1}\nlate-views:",
    ),
    "a late view is set aside": Line(
        "stream_processing/on_kafka.py", "GRACE = 30", "GRACE = 300", "'cat from 0': 4"
    ),
    "the slot is told after the publish": Line(
        "change_data_capture/on_postgresql.py",
        "pg_logical_slot_peek_changes",
        "pg_logical_slot_get_changes",
        "the relay crashed after one event\n  delete",
    ),
    "what is committed is published": Line(
        "change_data_capture/on_postgresql.py", "(force_rollback=True)", "()", "'title': 'owl'"
    ),
    "a slot that has nothing to publish is moved on": Line(
        "change_data_capture/on_postgresql.py",
        "await db.execute(ADVANCE, [SLOT, lines[-1][0] if lines else end])",
        "if lines:\n                await db.execute(ADVANCE, [SLOT, lines[-1][0]])",
        "has read them\n  the slot keeps megabytes",
    ),
    "a changed key ends the row of the old one": Line(
        "change_data_capture/on_postgresql.py",
        "if old and old[KEY] != events[0][1][KEY]:",
        "if not events:",
        "delete {'title': 'cat'}\n  update {'title': 'day'",
    ),
    "an emptied table is an event": Line(
        "change_data_capture/on_postgresql.py",
        "DELETE|TRUNCATE): ",
        "DELETE): ",
        "update {'title': 'day', 'state': 'new'}\n20,000 changes",
    ),
    "the replier gives up with its caller": Line(
        "request_reply/on_nats.py", "max(left, 0)", "None", "replied to 6, gave up 0"
    ),
    "task and schedule change in one transaction": Line(
        "scheduled_work/on_postgresql.py",
        "async with db.transaction():",
        "if True:",
        "'send digest', 'send digest'",
    ),
    "what was missed runs once": Line(
        "scheduled_work/on_postgresql.py",
        "WHERE at > now() ORDER BY",
        "ORDER BY",
        "woke and submitted send digest",
    ),
}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            line,
            id=says,
            marks=pytest.mark.broker(Path(line.snippet).stem.removeprefix("on_")),
        )
        for says, line in LINES.items()
    ],
)
def test_without_its_line_a_run_differs(line: Line, server: Server, tmp_path: Path) -> None:
    snippet = SNIPPETS / "use_cases" / line.snippet
    assert line.prints not in snippet.with_suffix(".out").read_text()
    address = server.environment_of_clients
    assert line.prints in run_changed(snippet, {line.text: line.instead}, tmp_path, address)


def test_nats_knows_a_replier_when_serve_returns() -> None:
    """Its subscription goes before the last PING: nats-py's first flush() overtakes it."""
    heard = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version": "2.10.27", "headers": true}\r\n')
        while line := await reader.readline():
            heard.extend(line)
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        connection = await nats.connect("nats://{}:{}".format(*server.sockets[0].getsockname()))
        await service.Entitlement("one").serve(connection)
        assert heard.index(b"SUB entitlement.may-watch") < heard.rindex(b"PING")
        await connection.close()
        server.close()

    service = load(SNIPPETS / "use_cases" / "request_reply" / "on_nats.py")
    asyncio.run(serve())


KILLED = """
import asyncio, os, signal, sys
import on_kafka

class Killed(RuntimeError):
    def __init__(self, *_):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    if sys.argv[1] == "first":
        await on_kafka.declare()
        await on_kafka.watch([(5, "cat"), (20, "cat")])
        on_kafka.RuntimeError = Killed
        await on_kafka.count(limit=2, crash=True)
    else:
        await on_kafka.count(limit=2)
        await on_kafka.count(limit=0)  # its start waits for the end of the transaction before

asyncio.run(main())
"""


@pytest.mark.broker("kafka")
def test_views_are_counted_once_although_the_counter_was_killed(
    server: Server, tmp_path: Path
) -> None:
    snippet = SNIPPETS / "use_cases" / "stream_processing" / "on_kafka.py"
    download(snippet, tmp_path)
    tmp_path.joinpath("killed.py").write_text(KILLED)
    address = server.environment_of_clients
    with pytest.raises(RuntimeError, match=r"killed\.py first failed"):
        run([sys.executable, "killed.py", "first"], tmp_path, address)
    assert run([sys.executable, "killed.py", "second"], tmp_path, address).splitlines() == [
        "read back: {}",
        "read back: {'cat from 0': 2, 'clock': 20}",
    ]


@pytest.mark.broker("kafka")
def test_a_counter_that_was_replaced_can_commit_no_more(server: Server) -> None:
    async def second_of_one_id() -> None:
        def counter() -> AIOKafkaProducer:
            return AIOKafkaProducer(
                bootstrap_servers=server.address, transactional_id="view-counter"
            )

        async with counter() as old:
            await old.begin_transaction()
            await old.send_and_wait("counts", b"1", b"cat from 0")
            async with counter():
                with pytest.raises(ProducerFenced):
                    await old.commit_transaction()

    asyncio.run(second_of_one_id())


@pytest.mark.broker("postgresql")
def test_a_slot_that_is_too_far_behind_becomes_invalid(server: Server) -> None:
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute("CREATE TABLE video (title text)")
        db.execute("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')")
        db.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'")
        try:
            db.execute("SELECT pg_reload_conf()")
            for _ in range(6):  # each takes a segment of 16 MB
                db.execute("INSERT INTO video VALUES ('cat')")
                db.execute("SELECT pg_switch_wal()")

            def is_lost() -> bool:
                """Tell whether it is, after a checkpoint: the first may not know the limit yet."""
                db.execute("CHECKPOINT")
                status = db.execute("SELECT wal_status FROM pg_replication_slots").fetchone()
                return status == ("lost",)

            wait_until(is_lost, "the slot to be lost")
            with pytest.raises(psycopg.OperationalError, match="can no longer"):
                db.execute("SELECT * FROM pg_logical_slot_peek_changes('cdc', NULL, NULL)")
        finally:
            db.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
            db.execute("SELECT pg_reload_conf()")


@pytest.mark.broker("postgresql")
def test_a_long_column_that_was_not_touched_is_not_in_the_log(server: Server) -> None:
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute("CREATE TABLE video (title text PRIMARY KEY, state text, words text)")
        db.execute("ALTER TABLE video ALTER words SET STORAGE EXTERNAL")
        db.execute("INSERT INTO video VALUES ('cat', 'new', repeat('meow ', 2000))")
        db.execute("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')")
        db.execute("UPDATE video SET state = 'ready'")
        changes = db.execute("SELECT data FROM pg_logical_slot_peek_changes('cdc', NULL, NULL)")
        (update,) = (line for (line,) in changes.fetchall() if "UPDATE" in line)
        assert update.endswith("state[text]:'ready' words[text]:unchanged-toast-datum")
