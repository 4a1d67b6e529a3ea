"""Built sites, served on this machine as a good host does it: packed by brotli, with what was sent.

Each folder has a name of its own under .localhost, which every browser looks for on this machine.
"""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import brotli

#: What a browser may ask for: nothing that is elsewhere.
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost"


@cache
def packed(file: Path) -> bytes:
    return bytes(brotli.compress(file.read_bytes()))


class Handler(BaseHTTPRequestHandler):
    """Serve folders, and note what was sent."""

    protocol_version = "HTTP/1.1"
    folders: ClassVar[dict[str, Path]] = {}
    sent: ClassVar[list[int]] = []

    def do_GET(self) -> None:  # the name that the server looks for
        """Send a file, packed by brotli."""
        name = self.headers["Host"].partition(".")[0]
        file = self.folders[name] / self.path.partition("?")[0].lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        if not file.is_file():
            self.send_error(404)
            return
        body = packed(file)
        self.send_response(200)
        self.send_header("Content-Type", mimetypes.guess_type(file)[0] or "text/plain")
        self.send_header("Content-Encoding", "br")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.sent.append(len(body))

    def handle(self) -> None:
        """Serve a connection until the browser, which may be gone at any time, ends it."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Keep the output readable."""


@contextmanager
def served(*folders: Path) -> Iterator[list[str]]:
    """Serve these folders, and return their addresses, which end with a slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.folders.update({f"{number}x": each for number, each in enumerate(folders)})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield [f"http://{name}.localhost:{server.server_port}/" for name in Handler.folders]
        server.shutdown()
