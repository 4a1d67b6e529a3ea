# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""NOTIFY on PostgreSQL is a bell: what nobody hears is gone."""

from psycopg.errors import InvalidParameterValue

from database import Connection, connect, run

RING = "SELECT pg_notify('task', %s)"
BELL_SECONDS = 0.2


async def heard(db: Connection, bells: int = 0) -> list[str]:
    """Wait for so many; if nothing was rung, only for a moment."""
    seconds = 15 if bells else BELL_SECONDS
    notes = db.notifies(timeout=seconds, stop_after=bells or None)
    return [note.payload async for note in notes]


async def main() -> None:
    async with connect() as sender, connect() as worker:
        await sender.execute("CREATE TABLE task (body text)")
        await sender.execute("INSERT INTO task VALUES ('cat.mp4')")
        await sender.execute(RING, ["cat.mp4"])
        await worker.execute("LISTEN task")
        print("rung before LISTEN:", await heard(worker))
        rows = await (await worker.execute("SELECT body FROM task")).fetchall()
        print("in the table:", [body for (body,) in rows])

        async with sender.transaction():
            for video in ("dog.mp4", "dog.mp4", "owl.mp4"):
                await sender.execute(RING, [video])
            print("before the commit:", await heard(worker))
        print("after it, duplicates folded:", await heard(worker, 2))

        async with sender.transaction(force_rollback=True):
            await sender.execute(RING, ["fox.mp4"])
        print("rolled back:", await heard(worker))

        await sender.execute(RING, ["x" * 7999])
        print("payload of 7999 bytes:", len((await heard(worker, 1))[0]))
        try:
            await sender.execute(RING, ["x" * 8000])
        except InvalidParameterValue as error:
            print("payload of 8000 bytes:", error.diag.message_primary)
        await sender.execute("DROP TABLE task")


if __name__ == "__main__":
    run(main)
