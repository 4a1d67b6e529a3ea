# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""A table as a queue: the task commits with the data, or not at all."""

import asyncio
import sqlite3

SCHEMA = """
CREATE TABLE videos (name TEXT PRIMARY KEY);
CREATE TABLE tasks (id INTEGER PRIMARY KEY, video TEXT NOT NULL);
"""


def upload(database: sqlite3.Connection, video: str) -> None:
    try:
        with database:  # one transaction: both rows, or none
            database.execute("INSERT INTO tasks (video) VALUES (?)", [video])
            database.execute("INSERT INTO videos VALUES (?)", [video])
    except sqlite3.IntegrityError:
        print(f"upload of {video}: refused, it is there already")
    else:
        print(f"upload of {video}: stored")


def count(database: sqlite3.Connection, table: str) -> int:
    number: int
    (number,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    return number


async def work_off(database: sqlite3.Connection) -> None:
    oldest = "SELECT id, video FROM tasks ORDER BY id LIMIT 1"
    while task := database.execute(oldest).fetchone():
        number, video = task
        print(f"worker: transcodes {video}")
        with database:  # A crash before it loses nothing.
            database.execute("DELETE FROM tasks WHERE id = ?", [number])


async def main() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(SCHEMA)
    for video in ("cat.mp4", "dog.mp4", "cat.mp4"):
        upload(database, video)
    print(count(database, "videos"), "videos,", end=" ")
    print(count(database, "tasks"), "tasks wait")
    await work_off(database)
    print(count(database, "tasks"), "tasks wait")
    database.close()


if __name__ == "__main__":
    asyncio.run(main())
