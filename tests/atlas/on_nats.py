"""NATS JetStream: a stream of three replicas or of one, and files synced at times or always."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

import nats
from nats.aio.client import Client
from nats.errors import OutboundBufferLimitError
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from tests.atlas.asked import QUEUE, Asked, Setting
from tests.atlas.load import CALL_SECONDS, CONNECT_SECONDS, RefusedError, UselessError
from tests.brokers.cluster.cluster import until
from tests.brokers.cluster.machines import NUMBERS, Machine, address
from tests.brokers.cluster.nats import NatsCluster


async def connected(*numbers: int) -> Client:
    """Connect to the first of these servers that answers, and to no other afterwards."""

    async def quiet(_: Exception) -> None:
        """The client prints errors otherwise."""

    return await nats.connect(
        [f"nats://{address(number)}:4222" for number in numbers],
        dont_randomize=True,
        connect_timeout=int(CONNECT_SECONDS),
        allow_reconnect=False,
        error_cb=quiet,
    )


class NatsConnection:
    """A producer's connection to one server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jetstream = client.jetstream(timeout=2 * CALL_SECONDS)

    async def publish(self, message: int) -> None:
        if not self._client.is_connected:
            raise UselessError("not connected")
        try:
            await self._jetstream.publish(QUEUE, b"%d" % message)
        except OutboundBufferLimitError:
            raise UselessError("not connected") from None
        except NoStreamResponseError:
            # This server knows nobody who takes it: another one may.
            raise UselessError("no response from stream") from None
        except APIError as error:
            raise RefusedError(f"{error.code} {error.description}") from None

    async def close(self) -> None:
        await self._client.close()


class AskedNats(Asked):
    """NATS: replicas are the stream's, and `sync_interval` is the server's."""

    key = "nats"
    client = "nats-py"
    settings = (
        Setting("r1", "`num_replicas` 1", default=True),
        Setting("r3", "`num_replicas` 3"),
        Setting("r3-always", "`num_replicas` 3, `sync_interval: always`", safe=True),
    )
    by_hand: ClassVar = {
        "node-replaced": "The operator starts an empty server of the same name, and the others give"
        " it what it has to have.",
    }

    def make(self, machines: Mapping[int, Machine]) -> NatsCluster:
        always = self.setting.endswith("always")
        return NatsCluster(machines, sync_interval="always" if always else "2m")

    async def declare(self) -> None:
        client = await connected(*NUMBERS)
        replicas = int(self.setting[1])

        async def made() -> bool:
            jetstream = client.jetstream(timeout=5)
            stream = StreamConfig(name=QUEUE, subjects=[QUEUE], num_replicas=replicas)
            await jetstream.add_stream(stream)
            cluster = (await jetstream.stream_info(QUEUE)).cluster
            followers = (cluster and cluster.replicas) or []
            return len(followers) == replicas - 1 and all(each.current for each in followers)

        await until(made, f"NATS to have {replicas} replicas of the stream")
        await client.close()

    async def connect(self, number: int) -> NatsConnection:
        return NatsConnection(await connected(number))

    async def read(self) -> list[int]:
        while True:
            try:
                return await self._read()
            except (ServiceUnavailableError, TimeoutError):
                # A consumer's leader is not there at once. The next one begins from the start.
                await asyncio.sleep(1)

    async def _read(self) -> list[int]:
        client = await connected(*NUMBERS)
        try:
            jetstream = client.jetstream(timeout=10)

            async def held() -> int | None:
                return (await jetstream.stream_info(QUEUE)).state.messages + 1

            expected = (await until(held, "NATS to say how many messages the stream has") or 1) - 1
            found: list[int] = []
            reader = await jetstream.pull_subscribe(QUEUE, stream=QUEUE)
            while len(found) < expected:
                for message in await reader.fetch(min(500, expected - len(found)), timeout=10):
                    found.append(int(message.data))
                    await message.ack()
            return found
        finally:
            await client.close()
