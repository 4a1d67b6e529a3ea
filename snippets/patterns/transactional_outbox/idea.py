# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The service commits the video with its event; a relay publishes it."""

import asyncio
import sqlite3

from minibroker import Broker

BROKER, DB = Broker(), sqlite3.connect(":memory:")


def upload(video: str) -> None:
    with DB:  # This is one transaction: it commits at the end.
        DB.execute("INSERT INTO video VALUES (?)", [video])
        DB.execute("INSERT INTO outbox VALUES (?)", [video])


def relay() -> None:
    with DB:
        for (video,) in DB.execute("SELECT name FROM outbox"):
            BROKER.publish("uploaded", video)
        DB.execute("DELETE FROM outbox")


async def main() -> None:
    DB.executescript("CREATE TABLE video (name); CREATE TABLE outbox (name)")
    BROKER.declare("uploaded")
    for video in ("dog.mp4", "cat.mp4"):
        upload(video)
    relay()  # It is another process: it goes on when the service is dead.
    events = [each.message.body for each in BROKER.find("uploaded").ready]
    for (video,) in DB.execute("SELECT name FROM video"):
        what = "is published" if video in events else "is lost for good"
        print(f"{video} is stored, and its event {what}")


if __name__ == "__main__":
    asyncio.run(main())
