# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1", "trustme>=1.2"]
# ///
"""TLS to Redis: the server proves itself to the client, or gets nothing."""

import asyncio
import ssl
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import trustme
from redis.asyncio import Redis
from redis.exceptions import RedisError

from redis_client import URL, run


async def ask(url: str, ca_file: Path) -> str:
    """Connect as an application should, and tell how it went."""
    # It is rediss, with two s. Without ssl_ca_certs, it asks the system.
    if url.startswith("rediss:"):
        url += f"?ssl_ca_certs={ca_file}"
    try:
        async with Redis.from_url(url, retry=None) as redis:
            await redis.ping()
    except (RedisError, OSError) as error:
        refused = "CERTIFICATE_VERIFY_FAILED" in str(error)
        return "no trust in the server" if refused else "no connection"
    return "connected"


class Terminator:
    """TLS in front of a server that has none, as a proxy would do it."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(self.context)

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_server(
            self.serve, "127.0.0.1", 0, ssl=self.context
        )

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server = urlsplit(URL)
        theirs, ours = await asyncio.open_connection(
            server.hostname, server.port or 6379
        )
        await asyncio.gather(pump(reader, ours), pump(theirs, writer))


async def pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main() -> None:
    own, stranger = trustme.CA(), trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        ca, other = Path(folder, "ca.pem"), Path(folder, "other.pem")
        own.cert_pem.write_to_path(str(ca))
        stranger.cert_pem.write_to_path(str(other))
        server = own.issue_cert("127.0.0.1")
        elsewhere = own.issue_cert("redis.example.org")
        async with (
            await Terminator(server).listen() as right,
            await Terminator(elsewhere).listen() as misnamed,
        ):
            port = right.sockets[0].getsockname()[1]
            tls = f"rediss://127.0.0.1:{port}/0"
            print("our authority:", await ask(tls, ca))
            print("another authority:", await ask(tls, other))
            port = misnamed.sockets[0].getsockname()[1]
            wrong = f"rediss://127.0.0.1:{port}/0"
            print("another server's name:", await ask(wrong, ca))
            plain = tls.replace("rediss:", "redis:")
            print("no TLS:", await ask(plain, ca))


if __name__ == "__main__":
    run(main)
