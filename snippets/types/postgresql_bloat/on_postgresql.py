# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""On PostgreSQL one old transaction keeps every finished task on disk."""

from psycopg import IsolationLevel

from database import Connection, connect, run

TASKS = 10_000
FILL = "INSERT INTO task SELECT n, 'transcode' FROM generate_series(1, %s) n"
SIZE = "SELECT pg_relation_size('task') / 8192"  # pages of 8 KiB


async def do_all(db: Connection) -> None:
    await db.execute(FILL, [TASKS])
    await db.execute("DELETE FROM task")


async def pages(db: Connection) -> int:
    await db.execute("VACUUM task")
    found = await (await db.execute(SIZE)).fetchone()
    return int(found[0]) if found else 0


async def main() -> None:
    async with connect() as queue, connect("report") as report:
        await queue.execute("CREATE TABLE task (id int, body text)")
        await do_all(queue)
        print(f"{TASKS} tasks done, vacuumed: {await pages(queue)} pages")

        # Somebody's report, on another table. It need not read a task.
        await report.set_autocommit(False)
        await report.set_read_only(True)
        await report.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await report.execute("SELECT 1")  # psycopg begins a transaction
        for done in (1, 2):
            await do_all(queue)
            size = await pages(queue)
            print(
                f"report open, {done * TASKS} done: {size} pages of dead rows"
            )

        await report.rollback()
        print(f"report over, vacuumed: {await pages(queue)} pages")
        await queue.execute("DROP TABLE task")


if __name__ == "__main__":
    run(main)
