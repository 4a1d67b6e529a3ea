# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Idempotent receiver: a view and its id are committed together."""

import asyncio
import sqlite3

from minibroker import Broker

BROKER, DB = Broker(), sqlite3.connect(":memory:")
REMEMBER = "INSERT OR IGNORE INTO inbox VALUES (?)"


async def receive(*, crash: bool) -> None:
    with BROKER.consume("views", "receiver") as receiver:
        delivery = await receiver.inbox.get()
        with DB:  # It commits what follows, or undoes it.
            new = DB.execute(REMEMBER, [delivery.message.headers["id"]])
            if new.rowcount:  # It is 0 if the id is there already.
                DB.execute("UPDATE views SET count = count + 1")
        if not crash:  # A crash prevents this.
            delivery.ack()


async def main() -> None:
    DB.execute("CREATE TABLE inbox (id TEXT PRIMARY KEY)")
    DB.execute("CREATE TABLE views AS SELECT 0 AS count")
    BROKER.declare("views")
    BROKER.publish("views", "cat.mp4", id="5f0c")
    await receive(crash=True)
    await receive(crash=False)
    (count,) = DB.execute("SELECT count FROM views").fetchone()
    print(f"one person watched cat.mp4; counted: {count}")


if __name__ == "__main__":
    asyncio.run(main())
