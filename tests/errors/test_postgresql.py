"""What PostgreSQL and psycopg say when something is wrong, and how one gets to hear it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, LiteralString

import psycopg
import pytest

from tests.brokers import Server
from tests.brokers.postgresql import Postgresql
from tests.brokers.proxy import Proxy
from tests.brokers.server import free_port, wait_until
from tests.errors.conftest import Hearing
from tests.errors.raised import error_by
from tests.types.test_database import Pooler

pytestmark = pytest.mark.broker(Postgresql.key)

Db = psycopg.Connection[Any]


@contextmanager
def connected(server: Server, **options: Any) -> Iterator[Db]:
    """Yield a connection on which each statement commits by itself."""
    with psycopg.connect(server.address, **{"autocommit": True, **options}) as db:
        yield db


def refusal(server: Server, *statements: LiteralString) -> Exception:
    """Return the error of the last of some statements; a notice of the server is no error."""
    with connected(server) as db:
        for statement in statements[:-1]:
            db.execute(statement)
        return error_by(lambda: db.execute(statements[-1]))


def waiting(db: Db, pid: int) -> Callable[[], bool]:
    """Tell whether a session waits for a lock."""
    query = "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted"
    return lambda: db.execute(query, [pid]).fetchone() is not None


def sleeping(db: Db, pid: int) -> Callable[[], bool]:
    """Tell whether a session is in `pg_sleep()`."""
    query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
    return lambda: db.execute(query, [pid]).fetchone() is not None


class Configured(Postgresql):
    """A server with more settings on its command line."""

    more: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*super().command(), *self.more]


class Small(Configured):
    """Eight connections, one of them reserved; one slot; passwords; little room to notify."""

    connections = 8
    more = (
        *("-c", f"max_connections={connections}", "-c", "superuser_reserved_connections=1"),
        *("-c", "max_wal_senders=1", "-c", "max_replication_slots=1"),
        *("-c", "max_notify_queue_pages=64", "-c", "wal_level=replica"),
    )

    def prepare(self) -> None:
        super().prepare()
        (self.database / "pg_hba.conf").write_text(
            "host all uploader 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n"
        )

    def start(self) -> None:
        super().start()
        with connected(self) as db:
            db.execute("CREATE ROLE uploader LOGIN PASSWORD 'secret'")


@pytest.fixture(scope="module")
def small(server: Server) -> Iterator[Small]:
    with server.another(Small) as own:
        yield own


def as_uploader(server: Server, password: str = "secret") -> Db:
    address = server.address.replace("postgres@", f"uploader:{password}@")
    return psycopg.connect(address)


@contextmanager
def taken(server: Server, number: int) -> Iterator[None]:
    """Take so many connections. Others may be ending still, before this and after it."""
    with ExitStack() as stack:
        held: list[Db] = []

        def take() -> bool:
            with suppress(psycopg.OperationalError):
                held.append(stack.enter_context(connected(server)))
            return len(held) == number

        def alone() -> bool:
            count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            return held[0].execute(count).fetchone() == (1,)

        wait_until(take, "free connections")
        yield
        for db in held[1:]:
            db.close()
        wait_until(alone, "the others to end")


def usual(server: Server) -> dict[str, str]:
    return {str(server.port_number): "5432"}


# Prepared statements, and a pooler between.


async def pooled(server: Server, *order: str) -> Exception:
    """Return the error that one of some transactions ends with; each client has a name.

    They run behind a pooler, on its two sessions in turn.
    """
    pooler = Pooler(server)
    await pooler.open()
    listener = await asyncio.start_server(pooler.serve, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    address = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable&gssencmode=disable"
    clients: dict[str, Any] = {}
    try:
        for name in order:
            if name not in clients:
                connect = psycopg.AsyncConnection.connect(address, prepare_threshold=0)
                clients[name] = await connect
            try:
                await clients[name].execute("SELECT 1")
                await clients[name].commit()
            except psycopg.Error as error:
                return error
        raise AssertionError("no error")
    finally:
        for client in clients.values():
            await client.close()
        listener.close()


def test_prepared_statement_does_not_exist(server: Server, said: Hearing) -> None:
    """The first transaction prepares on one session, and the second one meets the other."""
    said(asyncio.run(pooled(server, "A", "A")))


def test_prepared_statement_already_exists(server: Server, said: Hearing) -> None:
    """The clients give their statements the same name: the third one meets the first one's."""
    said(asyncio.run(pooled(server, "A", "B", "C")))


# Notifications.


def test_too_many_notifications(small: Small, said: Hearing) -> None:
    with connected(small) as listener, connected(small) as sender:
        listener.execute("LISTEN tasks")
        listener.execute("BEGIN")
        listener.execute("SELECT 1")

        def fill() -> None:
            for _ in range(200):
                sender.execute(
                    "SELECT pg_notify('tasks', repeat('x', 7000) || i)"
                    " FROM generate_series(1, 20) AS i"
                )

        said(error_by(fill))


def test_payload_string_too_long(server: Server, said: Hearing) -> None:
    said(refusal(server, "SELECT pg_notify('tasks', repeat('x', 8000))"))


# Locks.


def test_deadlock_detected(server: Server, said: Hearing) -> None:
    take: LiteralString = "SELECT FROM deadlock WHERE id = %s FOR UPDATE"
    with connected(server) as a, connected(server) as b, connected(server) as look:
        look.execute("CREATE TABLE deadlock (id int)")
        look.execute("INSERT INTO deadlock VALUES (1), (2)")
        for db, number in ((a, 1), (b, 2)):
            db.execute("BEGIN")
            db.execute(take, [number])
        first_pid, second_pid = a.info.backend_pid, b.info.backend_pid
        a.execute("SET deadlock_timeout = '60s'")  # so that it is the other one that finds it
        b.execute("SET deadlock_timeout = '10ms'")
        with ThreadPoolExecutor() as pool:
            first = pool.submit(a.execute, take, [2])
            wait_until(waiting(look, first_pid), "the first one to wait")
            error = error_by(lambda: b.execute(take, [1]))
            b.execute("ROLLBACK")
            first.result()
        a.execute("ROLLBACK")
    mask = {
        rf"(?<=ess ){first_pid}\b": "701",
        rf"(?<=ess ){second_pid}\b": "702",
        r"transaction \d+; blocked by process 701": "transaction 1001; blocked by process 701",
        r"transaction \d+; blocked by process 702": "transaction 1002; blocked by process 702",
    }
    said(error, mask=mask)


def test_could_not_serialize_access(server: Server, said: Hearing) -> None:
    with connected(server) as a, connected(server) as b:
        a.execute("CREATE TABLE serialized (id int, done boolean)")
        a.execute("INSERT INTO serialized VALUES (1, false)")
        b.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        b.execute("SELECT * FROM serialized")
        a.execute("UPDATE serialized SET done = true")
        said(error_by(lambda: b.execute("UPDATE serialized SET done = true")))


def test_could_not_obtain_lock_on_row(server: Server, said: Hearing) -> None:
    with connected(server) as a, connected(server) as b:
        a.execute("CREATE TABLE nowait (id int)")
        a.execute("INSERT INTO nowait VALUES (1)")
        a.execute("BEGIN")
        a.execute("SELECT FROM nowait FOR UPDATE")
        said(error_by(lambda: b.execute("SELECT FROM nowait FOR UPDATE NOWAIT")))


def test_lock_timeout(server: Server, said: Hearing) -> None:
    with connected(server) as a, connected(server) as b:
        a.execute("CREATE TABLE tasks_locked (id int)")
        a.execute("BEGIN")
        a.execute("LOCK TABLE tasks_locked")
        b.execute("SET lock_timeout = '10ms'")
        said(error_by(lambda: b.execute("INSERT INTO tasks_locked VALUES (1)")))


def test_statement_timeout(server: Server, said: Hearing) -> None:
    said(refusal(server, "SET statement_timeout = '10ms'", "SELECT pg_sleep(60)"))


def test_user_request(server: Server, said: Hearing) -> None:
    with connected(server) as db, connected(server) as other, ThreadPoolExecutor() as pool:
        query = pool.submit(error_by, lambda: db.execute("SELECT pg_sleep(60)"))
        wait_until(sleeping(other, db.info.backend_pid), "the query to run")
        other.execute("SELECT pg_cancel_backend(%s)", [db.info.backend_pid])
        said(query.result())


# The session ends.


def ended_by(server: Server, statement: LiteralString, *before: LiteralString) -> Exception:
    """Return the error of a session that another one ends by a statement about its process."""
    with connected(server) as db, connected(server) as other:
        for one in before:
            db.execute(one)
        pid = db.info.backend_pid
        other.execute(statement, [pid])
        gone: LiteralString = "SELECT FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: other.execute(gone, [pid]).fetchone() is None, "the session to end")
        return error_by(lambda: db.execute("SELECT 1"))


def test_terminating_connection_due_to_administrator_command(server: Server, said: Hearing) -> None:
    said(ended_by(server, "SELECT pg_terminate_backend(%s)"))


def test_terminating_connection_due_to_idle_in_transaction_timeout(
    server: Server, said: Hearing
) -> None:
    timeout: LiteralString = "SET idle_in_transaction_session_timeout = '10ms'"
    said(ended_by(server, "SELECT %s", timeout, "BEGIN"))


def test_server_closed_the_connection_unexpectedly(server: Server, said: Hearing) -> None:
    proxy = Proxy(server.port_number)
    address = server.address.replace(str(server.port_number), str(proxy.port))
    with connected(server) as other, psycopg.connect(address, autocommit=True) as db:
        with ThreadPoolExecutor() as pool:
            query = pool.submit(error_by, lambda: db.execute("SELECT pg_sleep(60)"))
            wait_until(sleeping(other, db.info.backend_pid), "the query to run")
            proxy.cut()
            said(query.result())
        other.execute("SELECT pg_terminate_backend(%s)", [db.info.backend_pid])
    proxy.close()


def test_the_connection_is_closed(server: Server, said: Hearing) -> None:
    with connected(server) as db:
        db.close()
        said(error_by(lambda: db.execute("SELECT 1")))


def test_connection_refused(server: Server, said: Hearing) -> None:
    port = free_port()
    address = server.address.replace(str(server.port_number), str(port))
    said(error_by(lambda: psycopg.connect(address)), mask={str(port): "5432"})


# Who may, and how many.


def test_too_many_clients_already(small: Small, said: Hearing) -> None:
    with taken(small, small.connections):
        said(error_by(lambda: psycopg.connect(small.address)), mask=usual(small))


def test_remaining_connection_slots_are_reserved(small: Small, said: Hearing) -> None:
    with taken(small, small.connections - 1):
        said(error_by(lambda: as_uploader(small)), mask=usual(small))


def test_password_authentication_failed(small: Small, said: Hearing) -> None:
    said(error_by(lambda: as_uploader(small, "wrong")), mask=usual(small))


def test_no_pg_hba_conf_entry(small: Small, said: Hearing) -> None:
    address = small.address.replace("postgres@", "stranger@")
    said(error_by(lambda: psycopg.connect(address)), mask=usual(small))


def test_database_does_not_exist(server: Server, said: Hearing) -> None:
    address = server.address.removesuffix("postgres") + "videos"
    said(error_by(lambda: psycopg.connect(address)))


def test_permission_denied(server: Server, said: Hearing) -> None:
    make: tuple[LiteralString, ...] = ("CREATE TABLE forbidden (id int)", "CREATE ROLE auditor")
    schema: LiteralString = "GRANT USAGE ON SCHEMA public TO auditor"
    said(refusal(server, *make, schema, "SET ROLE auditor", "SELECT * FROM forbidden"))
    with connected(server) as db:
        db.execute("DROP OWNED BY auditor")
        db.execute("DROP ROLE auditor")


# Transactions and tables.


def test_current_transaction_is_aborted(server: Server, said: Hearing) -> None:
    with connected(server) as db:
        db.execute("BEGIN")
        error_by(lambda: db.execute("SELECT 1 / 0"))
        said(error_by(lambda: db.execute("SELECT 1")))


def test_read_only_transaction(server: Server, said: Hearing) -> None:
    make: LiteralString = "CREATE TABLE readonly (id int)"
    said(refusal(server, make, "BEGIN READ ONLY", "INSERT INTO readonly VALUES (1)"))


def test_duplicate_key(server: Server, said: Hearing) -> None:
    make: LiteralString = "CREATE TABLE inbox (id text PRIMARY KEY)"
    add: LiteralString = "INSERT INTO inbox VALUES ('cat.mp4')"
    said(refusal(server, make, add, add))


def test_relation_does_not_exist(server: Server, said: Hearing) -> None:
    said(refusal(server, "SELECT * FROM missing"))


def test_duplicate_key_of_a_type(server: Server, said: Hearing) -> None:
    """Two programs create the table at the same moment, in spite of IF NOT EXISTS."""
    make: LiteralString = "CREATE TABLE IF NOT EXISTS twice (id int)"
    with connected(server) as a, connected(server) as b, connected(server) as look:
        a.execute("BEGIN")
        a.execute(make)
        with ThreadPoolExecutor() as pool:
            second = pool.submit(error_by, lambda: b.execute(make))
            wait_until(waiting(look, b.info.backend_pid), "the second one to wait")
            a.execute("COMMIT")
            said(second.result(), mask={r"\(twice, \d+\)": "(twice, 2200)"})


def test_nul_bytes(server: Server, said: Hearing) -> None:
    with connected(server) as db:
        said(error_by(lambda: db.execute("SELECT %s::text", ["cat\0.mp4"])))


# Logical decoding.


def test_replication_slot_is_active(server: Server, said: Hearing) -> None:
    slot: LiteralString = "SELECT pg_create_logical_replication_slot('taken', 'test_decoding')"
    read: LiteralString = "SELECT * FROM pg_logical_slot_get_changes('taken', NULL, NULL)"
    with connected(server) as db:
        db.execute(slot)
        first = psycopg.connect(server.address, replication="database", autocommit=True)
        first.pgconn.exec_(b"START_REPLICATION SLOT taken LOGICAL 0/0")
        said(error_by(lambda: db.execute(read)), mask={r"PID \d+": "PID 700"})
        first.close()
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        free: LiteralString = " WHERE slot_name = 'taken' AND NOT active"
        wait_until(lambda: db.execute(drop + free).fetchone() is not None, "the slot to be free")


def test_all_replication_slots_are_in_use(small: Small, said: Hearing) -> None:
    make: LiteralString = "SELECT pg_create_physical_replication_slot(%s)"
    with connected(small) as db:
        db.execute(make, ["first"])
        try:
            said(error_by(lambda: db.execute(make, ["second"])))
        finally:
            db.execute("SELECT pg_drop_replication_slot('first')")


def test_logical_decoding_requires_wal_level(small: Small, said: Hearing) -> None:
    said(refusal(small, "SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')"))
