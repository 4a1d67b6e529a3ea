# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The service commits the video, and then publishes its event."""

import asyncio
import sqlite3

from minibroker import Broker

BROKER, DB = Broker(), sqlite3.connect(":memory:")


def upload(video: str) -> None:
    with DB:  # This is one transaction: it commits at the end.
        DB.execute("INSERT INTO video VALUES (?)", [video])
    if video == "cat.mp4":
        return  # The service is killed here.
    BROKER.publish("uploaded", video)


async def main() -> None:
    DB.execute("CREATE TABLE video (name)")
    BROKER.declare("uploaded")
    for video in ("dog.mp4", "cat.mp4"):
        upload(video)
    events = [each.message.body for each in BROKER.find("uploaded").ready]
    for (video,) in DB.execute("SELECT name FROM video"):
        what = "is published" if video in events else "is lost for good"
        print(f"{video} is stored, and its event {what}")


if __name__ == "__main__":
    asyncio.run(main())
