# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Least privilege on PostgreSQL: who inserts tasks can't read them."""

import secrets

from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

from database import URL, run

CREATE = """
CREATE TABLE video.task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
ADD = "INSERT INTO video.task (body) VALUES ('transcode cat.mp4')"
TAKE = """
SELECT id, body FROM video.task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""
GRANTS = {
    "video_uploader": "INSERT",
    # FOR UPDATE asks for the right to update, though nobody updates.
    "video_worker": "SELECT, UPDATE, DELETE",
    "video_dashboard": "SELECT",
}
ATTEMPTS = {
    "add a task": ADD,
    "take a task": TAKE,
    "look at the tasks": "SELECT count(*) FROM video.task",
    "drop the table": "DROP TABLE video.task",
}


async def create(admin: AsyncConnection, account: str) -> str:
    """Make the account, with a new password; return how to connect."""
    password = secrets.token_urlsafe()
    name = sql.Identifier(account)
    await admin.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, password)
    )
    for right in f"{GRANTS[account]} ON video.task", "USAGE ON SCHEMA video":
        grant = sql.SQL("GRANT {} TO {}").format(sql.SQL(right), name)
        await admin.execute(grant)
    return make_conninfo(URL, user=account, password=password)


async def attempt(address: str) -> None:
    async with await AsyncConnection.connect(address, autocommit=True) as db:
        for what, statement in ATTEMPTS.items():
            try:
                await db.execute(statement)
            except InsufficientPrivilege:
                print(f"  {what}: refused")
            else:
                print(f"  {what}: done")


async def main() -> None:
    async with await AsyncConnection.connect(URL, autocommit=True) as admin:
        await admin.execute("CREATE SCHEMA video")
        await admin.execute(CREATE)
        try:
            for account in GRANTS:
                print(account)
                await attempt(await create(admin, account))
        finally:
            await admin.execute("DROP SCHEMA video CASCADE")
            for account in GRANTS:
                drop = sql.SQL("DROP ROLE IF EXISTS {}")
                await admin.execute(drop.format(sql.Identifier(account)))


if __name__ == "__main__":
    run(main)
