"""The statement that the page runs on SQLite does the same on PostgreSQL."""

from __future__ import annotations

import asyncio
import re

import psycopg
import pytest

from tests.brokers import Server
from tests.records import ROOT

PAGE = ROOT / "docs" / "best-practices" / "idempotent-consumers.md"


@pytest.mark.broker("postgresql")
def test_an_older_version_changes_nothing(server: Server) -> None:
    found = re.search(r'UPSERT = """\n(.+?)"""', PAGE.read_text(), re.DOTALL)
    assert found
    upsert = re.sub(r":(\w+)", r"%(\1)s", found[1]).encode()

    async def changes() -> list[int]:
        async with await psycopg.AsyncConnection.connect(server.address) as connection:
            await connection.execute(
                "CREATE TEMPORARY TABLE video (name text PRIMARY KEY, views int, version int)"
            )
            done = []
            for views, version in ((10, 4), (17, 5), (17, 5), (10, 4)):
                values = {"name": "cat.mp4", "views": views, "version": version}
                done.append((await connection.execute(upsert, values)).rowcount)
            return done

    assert asyncio.run(changes()) == [1, 1, 0, 0]
