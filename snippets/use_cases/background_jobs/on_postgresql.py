# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Background jobs on PostgreSQL: a status for the user, one result a job."""

import asyncio

from database import Connection, connect, create, run

LEASE = "0.5 seconds"  # usual: a minute, renewed every quarter of it
ATTEMPTS = 3

TABLE = """
CREATE TABLE IF NOT EXISTS job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request text NOT NULL UNIQUE,
    video text NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    percent int NOT NULL DEFAULT 0,
    attempt int NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    result text);
CREATE INDEX IF NOT EXISTS job_open ON job (id)
    WHERE status IN ('queued', 'running')"""
SUBMIT = """
INSERT INTO job (request, video) VALUES (%s, %s) ON CONFLICT DO NOTHING"""
# Whoever took the last attempt may have died: the user must not see
# "running" for ever.
GIVE_UP = """
UPDATE job SET status = 'failed' WHERE status = 'running'
AND attempt >= %s AND leased_until < clock_timestamp()"""
TAKE = """
UPDATE job SET status = 'running', attempt = attempt + 1, percent = 0,
    leased_until = clock_timestamp() + %s::interval
WHERE id = (
    SELECT id FROM job WHERE status IN ('queued', 'running')
    AND leased_until < clock_timestamp()
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, video, attempt"""
# No row is changed if another worker has the job by now, or if the user has
# cancelled it: the attempt's number is what a late worker is refused by.
MINE = "WHERE id = %s AND attempt = %s AND status = 'running'"
REPORT = f"""
UPDATE job SET percent = %s,
    leased_until = clock_timestamp() + %s::interval {MINE}"""
FINISH = f"""
UPDATE job SET status = 'done', percent = 100, result = %s {MINE}"""
CANCEL = """
UPDATE job SET status = 'cancelled' WHERE request = %s
AND status IN ('queued', 'running')"""
STATUS = "SELECT status, percent, attempt, result FROM job WHERE request = %s"


class NotMineError(Exception):
    """The job is another worker's, or cancelled: stop working on it."""

    def __init__(self, job: int, attempt: int) -> None:
        super().__init__(f"job {job} has gone on without attempt {attempt}")


class Jobs:
    """What the web application and the workers do with the table."""

    def __init__(self, db: Connection) -> None:
        self.db = db  # every statement below commits by itself

    async def submit(self, request: str, video: str) -> None:
        """Do this in the transaction of the upload: both, or neither."""
        await self.db.execute(SUBMIT, [request, video])

    async def take(self) -> tuple[int, str, int] | None:
        await self.db.execute(GIVE_UP, [ATTEMPTS])
        cursor = await self.db.execute(TAKE, [LEASE])
        return await cursor.fetchone()

    async def report(self, job: int, attempt: int, percent: int) -> None:
        args = [percent, LEASE, job, attempt]
        if not (await self.db.execute(REPORT, args)).rowcount:
            raise NotMineError(job, attempt)

    async def finish(self, job: int, attempt: int, result: str) -> None:
        args = [result, job, attempt]
        if not (await self.db.execute(FINISH, args)).rowcount:
            raise NotMineError(job, attempt)

    async def status(self, request: str) -> str:
        row = await (await self.db.execute(STATUS, [request])).fetchone()
        if not row:
            raise LookupError(f"nobody submitted {request!r}")
        status, percent, attempt, result = row
        return f"{status}, {percent} %, attempt {attempt}, {result or '-'}"


async def take_soon(jobs: Jobs) -> tuple[int, str, int]:
    while True:
        if job := await jobs.take():
            return job
        await asyncio.sleep(0.05)  # usual: LISTEN, and a look every second


async def main() -> None:
    async with connect() as db:
        await create(db, TABLE)
        jobs = Jobs(db)
        await jobs.submit("click 1", "cat.mp4")
        await jobs.submit("click 1", "cat.mp4")  # the user clicked again
        job, video, first = await take_soon(jobs)
        await jobs.report(job, first, 40)
        print("worker A:", await jobs.status("click 1"))

        job, video, second = await take_soon(jobs)  # A's lease has ended
        print("worker B:", await jobs.status("click 1"))
        for worker, attempt in (("A", first), ("B", second)):
            # A file of its own for each attempt: A has overwritten nothing.
            result = f"{video}.{attempt}.webm"
            try:
                await jobs.finish(job, attempt, result)
                print(f"worker {worker}: finished")
            except NotMineError:
                print(f"worker {worker}: too late")
        print("user:", await jobs.status("click 1"))

        await jobs.submit("click 2", "dog.mp4")
        job, _, attempt = await take_soon(jobs)
        await db.execute(CANCEL, ["click 2"])
        try:
            await jobs.report(job, attempt, 10)
        except NotMineError:
            print("worker B: stops, the user has cancelled")
        print("user:", await jobs.status("click 2"))


if __name__ == "__main__":
    run(main)
