"""Every broker that can be found, in the foreground on its default port: `make brokers`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.brokers import SERVERS, NotFoundError, Server, make


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start the server; end it and remove its data when the block ends."""
    try:
        server.start()
        yield server
    finally:
        server.close()


def interrupt(*_: object) -> None:
    """Treat a request to end as Ctrl-C, so that everything is cleaned up."""
    raise KeyboardInterrupt


def main() -> None:
    """Start the brokers, say what is up, and wait for Ctrl-C."""
    signal.signal(signal.SIGTERM, interrupt)
    wanted = sys.argv[1:] or list(SERVERS)
    unknown = [key for key in wanted if key not in SERVERS]
    if unknown:
        sys.exit(f"no broker is called {', '.join(unknown)}; there are: {', '.join(SERVERS)}")
    with ExitStack() as stack:
        try:
            up = 0
            for key in wanted:
                try:
                    server = stack.enter_context(running(make(key, default_ports=True)))
                except (NotFoundError, RuntimeError) as error:
                    print(f"{key:11} not up: {error}", flush=True)
                    continue
                up += 1
                address = f"{server.broker.variable}={server.address}"
                given = f" ({server.source.name}: not ours to stop)" if server.given else ""
                print(f"{key:11} {server.version():18} {address}{given}", flush=True)
            if not up:
                sys.exit("No broker is up.")
            print("Ctrl-C stops all and removes what they stored.", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            print("stopping")


if __name__ == "__main__":
    main()
