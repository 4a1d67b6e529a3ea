# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""How many tasks a second does your PostgreSQL hand out? Measure it."""

import asyncio
import sys
from time import perf_counter

from database import connect, run

TASKS = 1_000
BODY = "x" * 200  # bytes; put the size of your own tasks here
FILL = "INSERT INTO measured SELECT n, %s FROM generate_series(1, %s) n"
# Lock, work, delete, commit, one task at a time: the safe and slow way.
TAKE = "SELECT id FROM measured ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
DONE = "DELETE FROM measured WHERE id = %s"


async def work() -> int:
    async with connect("worker") as db:
        await db.set_autocommit(False)
        done = 0
        while task := await (await db.execute(TAKE)).fetchone():
            await db.execute(DONE, [task[0]])
            await db.commit()  # It waits for the disk.
            done += 1
        return done


async def measure(workers: int) -> None:
    async with connect() as db:
        await db.execute("CREATE TABLE measured (id int PRIMARY KEY, b text)")
        try:
            await db.execute(FILL, [BODY, TASKS])
            start = perf_counter()
            done = await asyncio.gather(*(work() for _ in range(workers)))
            rate = sum(done) / (perf_counter() - start)
        finally:
            await db.execute("DROP TABLE measured")
    print(f"workers: {workers}, tasks done: {sum(done)}")
    # Not on standard output: this line differs from machine to machine.
    print(f"  {rate:,.0f} tasks/s", file=sys.stderr)


async def main() -> None:
    for workers in (1, 4, 16):
        await measure(workers)


if __name__ == "__main__":
    run(main)
