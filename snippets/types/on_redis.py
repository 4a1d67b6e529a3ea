# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Redis without a client: RESP is lengths and lines over TCP."""

import asyncio
import os
from urllib.parse import urlsplit

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


def encode(command: str) -> str:
    """An array of strings, each with its length in bytes."""
    words = command.split()
    lines = [f"*{len(words)}"]
    for word in words:
        lines += [f"${len(word.encode())}", word]
    return "\r\n".join([*lines, ""])


async def reply(reader: asyncio.StreamReader) -> str:
    """Read one reply, as it comes; an array contains further replies."""
    line = (await reader.readuntil(b"\r\n")).decode()
    if line.startswith("-"):
        raise RuntimeError(line)
    number = int(line[1:]) if line[0] in "*$" else -1
    if line[0] == "$" and number >= 0:
        line += (await reader.readexactly(number + 2)).decode()
    if line[0] == "*":
        for _ in range(number):
            line += await reply(reader)
    return line


async def main() -> None:
    server = urlsplit(URL)
    reader, writer = await asyncio.open_connection(
        server.hostname, server.port
    )
    for says, command in {
        "publish, and the confirm": "XADD videos 1-1 video cat.mp4",
        "a group, from the start": "XGROUP CREATE videos workers 0",
        "worker A asks": "XREADGROUP GROUP workers A STREAMS videos >",
        "acknowledge it": "XACK videos workers 1-1",
    }.items():
        print(f"# {says}: {command}")
        request = encode(command)
        print("client:", *request.split())
        writer.write(request.encode())
        print("server:", *(await reply(reader)).split())
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ConnectionRefusedError as error:
        raise SystemExit(
            f"no connection to Redis at {URL} ({error}): "
            "docker compose up --wait redis starts it, "
            "or make brokers ONLY=redis"
        ) from error
