# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Synchronous call over HTTP: the web application waits for the answer."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

SECONDS = {"cat.mp4": 42, "dog.mp4": 7}


class VideoServer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        video = self.path.removeprefix("/videos/")
        print(f"  server: looks up {video}")
        if video in SECONDS:
            self.reply(200, f"{video} lasts {SECONDS[video]} s")
        else:
            self.reply(404, f"there is no {video}")

    def reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Keep the access log out of the output."""


@contextmanager
def running(server: HTTPServer) -> Iterator[int]:
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()


def get(port: int, path: str) -> str:
    # Without a timeout, a server that never answers holds its caller for ever.
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as server:
        server.request("GET", path)
        response = server.getresponse()
        text = response.read().decode()
        return f"{response.status} {response.reason}, {text}"


async def main() -> None:
    with (
        HTTPServer(("127.0.0.1", 0), VideoServer) as server,
        running(server) as port,
    ):
        for video in ("cat.mp4", "owl.mp4"):
            print(f"web application: asks for {video} and waits")
            # to_thread frees the event loop, not the caller of get().
            answer = await asyncio.to_thread(get, port, f"/videos/{video}")
            print(f"web application: {answer}")


if __name__ == "__main__":
    asyncio.run(main())
