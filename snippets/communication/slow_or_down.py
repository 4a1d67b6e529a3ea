# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""A worker that is down or slow: what a caller sees, what a queue does."""

import asyncio
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

transcoded: list[str] = []
caller_gave_up = Event()


class CalledWorker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        caller_gave_up.wait()  # It outlasts its caller's patience.
        transcoded.append(self.path.removeprefix("/transcode/"))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the access log out of the output."""


def post(port: int, patience: float) -> str:
    with closing(HTTPConnection("127.0.0.1", port, timeout=patience)) as http:
        try:
            http.request("POST", "/transcode/cat.mp4")
            return http.getresponse().reason
        except (ConnectionRefusedError, TimeoutError) as error:
            return type(error).__name__


async def call() -> None:
    # False: the server has a port, but does not listen before it is told to.
    with HTTPServer(("127.0.0.1", 0), CalledWorker, False) as worker:
        worker.server_bind()
        port = worker.server_port
        print("call, worker down:", await asyncio.to_thread(post, port, 0.5))
        worker.server_activate()
        Thread(target=worker.serve_forever, args=(0.05,), daemon=True).start()
        print("call, worker slow:", await asyncio.to_thread(post, port, 0.5))
        caller_gave_up.set()
        print("same call again:", await asyncio.to_thread(post, port, 30))
        worker.shutdown()


async def queue() -> None:
    async def worker() -> None:
        transcoded.append(await tasks.get())

    tasks: asyncio.Queue[str] = asyncio.Queue()
    await tasks.put("cat.mp4")
    print("queue, worker down: accepted,", tasks.qsize(), "waiting")
    await worker()
    print("queue, worker back:", tasks.qsize(), "waiting")


async def main() -> None:
    for hand_over in (call, queue):
        await hand_over()
        print("transcoded:", *transcoded)
        transcoded.clear()


if __name__ == "__main__":
    asyncio.run(main())
