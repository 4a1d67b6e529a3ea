# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""NATS without a client: its protocol is lines of text over TCP."""

import asyncio
import json
import os
import re
from urllib.parse import urlsplit

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
INBOX = "answers"


class Line:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer = reader, writer

    def send(self, line: str, body: str | None = None) -> None:
        print(f"client: {short(line)}")
        text = f"{line}\r\n"
        if body is not None:
            print(f"        {short(body) or '(no body)'}")
            text += f"{body}\r\n"
        self.writer.write(text.encode())

    def publish(self, subject: str, body: str) -> None:
        """The server's answer comes to the inbox, as one more message."""
        self.send(f"PUB {subject} {INBOX} {len(body.encode())}", body)

    async def receive(self) -> list[str]:
        """Return the words of the next line; print it, and its body."""
        line = (await self.reader.readuntil(b"\r\n")).decode().strip()
        if line == "PING":  # are you there? the server asks now and then
            self.writer.write(b"PONG\r\n")
            return await self.receive()
        print(f"server: {short(line)}")
        words = line.split()
        if words[0] == "MSG":
            body = await self.reader.readexactly(int(words[-1]) + 2)
            print(f"        {short(body.decode().strip()) or '(no body)'}")
        return words


def short(text: str) -> str:
    """Leave out what is long, and what is different each time."""
    text = re.sub(r"^INFO .*", 'INFO {"server_id": … }', text)
    text = re.sub(r"\.\d{19}\.", ".<time>.", text)
    text = re.sub(r"^(MSG answers 1) \d{2,}$", r"\1 <bytes>", text)
    text = text.replace('"videos", "seq"', '"videos","seq"')  # NATS 2.10
    return text if len(text) < 66 else f"{text[:56]} …"


async def main() -> None:
    server = urlsplit(URL)
    streams = await asyncio.open_connection(server.hostname, server.port)
    line = Line(*streams)
    await line.receive()  # the server speaks first
    line.send('CONNECT {"verbose": false}')
    line.send(f"SUB {INBOX} 1")  # 1: the client's name for this subscription

    print("# a stream, and a consumer that remembers what was acknowledged")
    stream = {"name": "videos", "subjects": ["video.*"]}
    line.publish("$JS.API.STREAM.CREATE.videos", json.dumps(stream))
    await line.receive()
    worker = {"durable_name": "worker", "ack_policy": "explicit"}
    request = {"stream_name": "videos", "config": worker}
    line.publish(
        "$JS.API.CONSUMER.DURABLE.CREATE.videos.worker", json.dumps(request)
    )
    await line.receive()

    print("# publish, and the confirm")
    line.publish("video.uploaded", "cat.mp4")
    await line.receive()

    print("# ask for a message, and acknowledge it")
    line.publish("$JS.API.CONSUMER.MSG.NEXT.videos.worker", "")
    _, _, _, reply_to, _ = await line.receive()
    line.publish(reply_to, "+ACK")
    await line.receive()
    line.writer.close()
    await line.writer.wait_closed()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ConnectionRefusedError as error:
        raise SystemExit(
            f"no connection to NATS at {URL} ({error}): "
            "docker compose up --wait nats starts it, "
            "or make brokers ONLY=nats"
        ) from error
