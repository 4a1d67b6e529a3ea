"""The outbox of a service: it forgets no event that its broker has not confirmed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Server
from tests.brokers.postgresql import Postgresql
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS, download

pytestmark = pytest.mark.broker(Postgresql.key)


def test_a_batch_that_was_not_confirmed_in_time_stays(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server.address)
    copy = download(SNIPPETS / "patterns" / "transactional_outbox" / "on_nats.py", tmp_path)
    outbox: Any = load(copy.with_name("outbox.py"))
    database: Any = load(copy.with_name("database.py"))
    published: list[str] = []

    async def silent(_: object) -> None:
        raise TimeoutError("the broker is silent")

    async def publish(rows: list[tuple[int, str]]) -> None:
        published.extend(event for _, event in rows)

    async def main() -> None:
        async with database.connect() as db:
            await outbox.create_tables(db)
            await outbox.upload(db, ["cat.mp4"])
            with pytest.raises(TimeoutError, match=r"^no confirm: the broker is silent$"):
                await outbox.relay(db, silent, 1)
            await outbox.relay(db, publish, 1)

    asyncio.run(main())
    assert published == ["uploaded cat.mp4"]
