# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""SKIP LOCKED on PostgreSQL: no waiting, and so no order."""

from database import Connection, connect, run

NEXT = "SELECT id, body FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"


async def take(db: Connection) -> int | None:
    task = await (await db.execute(NEXT)).fetchone()
    if task is None:
        await db.rollback()
        return None
    number: int = task[0]
    return number


async def finish(db: Connection, number: int | None) -> None:
    await db.execute("DELETE FROM task WHERE id = %s", [number])
    await db.commit()


async def main() -> None:
    async with connect("A") as a, connect("B") as b:
        await a.execute("CREATE TABLE task (id int PRIMARY KEY, body text)")
        await a.execute(
            "INSERT INTO task VALUES (1, 'create cat.mp4'),"
            " (2, 'rename cat.mp4'), (3, 'delete cat.mp4')"
        )
        await a.set_autocommit(False)  # a lock lives as long as a transaction
        await b.set_autocommit(False)

        first = await take(a)
        print(f"A holds task {first}")
        for _ in range(2):
            number = await take(b)
            await finish(b, number)
            print(f"B skips it and has done task {number}")
        print(f"B finds {await take(b)}: nothing, though task {first} is open")

        await a.rollback()  # It is so when A dies.
        number = await take(b)
        await finish(b, number)
        print(f"A failed; B has done task {number}, the oldest, last")
        await b.execute("DROP TABLE task")
        await b.commit()


if __name__ == "__main__":
    run(main)
