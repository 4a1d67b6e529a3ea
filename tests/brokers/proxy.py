"""A TCP proxy in front of a server, whose open connections can be cut, or fall silent."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from tests.brokers.server import free_port


@dataclass(eq=False)
class _Pair:
    """A client's connection and the one to the server that belongs to it."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    silent: bool = False
    deaf: bool = False

    def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Passes on what comes to `port`, in a thread of its own, until it is closed."""

    def __init__(self, target: int, source: str = "127.0.0.1") -> None:
        self.target = target
        self.source = source  # the address from which the server sees its clients come
        self.port = free_port()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        opening = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._listener = asyncio.run_coroutine_threadsafe(opening, self._loop).result(60)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair([writer])
        try:
            beyond = await asyncio.open_connection(
                "127.0.0.1", self.target, local_addr=(self.source, 0)
            )
        except OSError:  # the server is down, and so is this connection
            pair.close()
            return
        pair.writers.append(beyond[1])
        self._pairs.add(pair)
        for source, to, is_client in ((reader, beyond[1], True), (beyond[0], writer, False)):
            task = asyncio.create_task(self._pump(pair, source, to, is_client=is_client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        pair: _Pair,
        source: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        *,
        is_client: bool,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                # Else it is swallowed; our kernel has acknowledged it.
                if not pair.silent and (is_client or not pair.deaf):
                    to.write(data)
                    await to.drain()
        if is_client or not pair.silent:
            self._pairs.discard(pair)
            pair.close()

    def cut(self) -> None:
        """End every connection that is open, before this returns; new ones are served."""

        async def now() -> None:
            for pair in list(self._pairs):
                pair.close()

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(60)

    def silence(self) -> None:
        """Let nothing through from now on, on the connections that are open: they stay open."""

        async def now() -> None:
            for pair in self._pairs:
                pair.silent = True

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(60)

    def deafen(self) -> None:
        """Let no answer through from now on: what clients say still reaches the server."""

        async def now() -> None:
            for pair in self._pairs:
                pair.deaf = True

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(60)

    def close(self) -> None:
        """End all connections, and listen no more."""

        async def end() -> None:
            self._listener.close()
            for pair in list(self._pairs):
                pair.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()
