# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=16"]
# ///
"""WebSocket: both sides speak when they like, while both are there."""

import asyncio

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def report_progress(line: ServerConnection) -> None:
    video = await line.recv(decode=True)
    for percent in (25, 50, 75):
        await line.send(f"{video} is {percent} % done")
    await line.wait_closed()
    try:
        await line.send(f"{video} is ready")
    except ConnectionClosed:
        print(f"server: {video} is ready, but the line is closed")


async def watch(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}") as line:
        print("web application: asks once, about cat.mp4")
        await line.send("cat.mp4")
        for _ in range(3):
            print(f"  server says: {await line.recv(decode=True)}")
        print("web application: leaves")


async def main() -> None:
    async with serve(report_progress, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        await watch(port)


if __name__ == "__main__":
    asyncio.run(main())
