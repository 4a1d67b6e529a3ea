"""What a message names is no path and no subject: NATS's snippets take only what they made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.brokers import Server
from tests.brokers.server import wait_until
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS, download

pytestmark = pytest.mark.broker("nats")


@pytest.fixture
def taken(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what loads a snippet of NATS that finds the server."""
    monkeypatch.setenv("NATS_URL", server.address)
    return lambda topic: load(download(SNIPPETS / topic / "on_nats.py", tmp_path))


@pytest.mark.parametrize("name", ["../secret", "secret", "/etc/passwd", "", "A" * 64])
def test_store_takes_only_a_hash_as_a_name(name: str, taken: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of somebody else")
    (folder := tmp_path / "store").mkdir()
    (folder / "secret").write_text("not of a message")
    store = taken("best_practices/claim_check").Store(folder)
    assert store.get(store.put(b"subtitles")) == b"subtitles"
    with pytest.raises(ValueError, match="no name of this store"):
        store.get(name)


async def requests_with(address: str, subject: str, body: bytes, headers: dict[str, str]) -> None:
    """Ask with a subject of one's own as the return address, then as the client does."""
    async with await nats.connect(address) as connection:
        orders = await connection.subscribe("orders.delete")
        while True:
            try:
                await connection.request(subject, body, 60, headers=headers)
                break
            except nats.errors.NoRespondersError:
                await asyncio.sleep(0.1)
        await connection.publish(subject, body, reply="orders.delete", headers=headers)
        await connection.request(subject, body, 60, headers=headers)  # it came after it
        with pytest.raises(TimeoutError):
            await orders.next_msg(timeout=0.5)


def test_pattern_replies_only_to_an_inbox(server: Server, taken: Any) -> None:
    snippet = taken("patterns/request_reply")

    async def echo(body: str) -> str:
        return body

    async def main() -> None:
        replier = asyncio.create_task(snippet.serve("A", echo))
        headers = {"deadline": "9999999999"}
        await requests_with(server.address, snippet.REQUESTS, b"cat.mp4", headers)
        replier.cancel()
        await asyncio.wait([replier])

    asyncio.run(main())


def test_use_case_replies_only_to_an_inbox(server: Server, taken: Any) -> None:
    snippet = taken("use_cases/request_reply")

    async def main() -> None:
        async with snippet.connect("one") as connection:
            await snippet.Entitlement("one").serve(connection)
            headers = {snippet.DEADLINE: "9999999999"}
            await requests_with(server.address, snippet.SUBJECT, b"ana cat.mp4", headers)

    asyncio.run(main())


@pytest.mark.parametrize("deadline", ["9999999999", "inf", "nan"])
def test_a_wrong_clock_does_not_hold_up_the_requests_of_others(taken: Any, deadline: str) -> None:
    """While the database is away, a request may wait for no longer than a page does."""
    snippet = taken("use_cases/request_reply")

    async def main() -> None:
        async with snippet.connect("one") as connection, snippet.connect("page") as page:
            one = snippet.Entitlement("one")
            await one.serve(connection)
            one.database.clear()
            await page.publish(
                snippet.SUBJECT,
                b"eva cat.mp4",
                reply="_INBOX.eva",
                headers={snippet.DEADLINE: deadline},
            )
            await asyncio.to_thread(wait_until, lambda: one.too_late == 1, "the end of its wait")
            one.database.set()
            headers = {snippet.DEADLINE: "9999999999"}
            reply = await page.request(snippet.SUBJECT, b"ana cat.mp4", 20, headers=headers)
            assert reply.data == b"yes"

    asyncio.run(main())
