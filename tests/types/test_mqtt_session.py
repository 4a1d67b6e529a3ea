"""The module that MQTT's snippets share: no fault ends in silence."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest

from tests.brokers import Server
from tests.brokers.mqtt import Mosquitto
from tests.brokers.server import answers, wait_until
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

pytestmark = pytest.mark.broker(Mosquitto.key)

PATIENCE = 60  # seconds
WEEK = 7 * 24 * 3600
USER, PASSWORD = "up@loader", "p@ss/w:rd#100%"


class WithAccounts(Mosquitto):
    """Mosquitto with names, passwords and the rights of an `acl_file`."""

    MAY_READ = "user worker\ntopic read uploads\n"

    def prepare(self) -> None:
        super().prepare()
        self.passwords, self.rights = self.data / "passwords", self.data / "rights"
        self.passwords.touch(0o600)
        for user, password in ((USER, PASSWORD), ("worker", "plain")):
            command = ("mosquitto_passwd", "-b", str(self.passwords), user, password)
            subprocess.run(self.source.command(*command), check=True)
        self.rights.touch(0o600)
        self.write_rights()
        text = self.configuration.read_text().replace("anonymous true", "anonymous false")
        files = f"password_file {self.passwords}\nacl_file {self.rights}\n"
        self.configuration.write_text(text + files)

    def write_rights(self, more: str = "") -> None:
        self.rights.write_text(f"user {USER}\ntopic write uploads\n{more}")

    def change_rights(self, more: str = "") -> None:
        """Write the file anew, and have the running server read it."""
        before = self.log.read_text().count("Reloading config")
        self.write_rights(more)
        assert self._process
        self._signal(signal.SIGHUP, self._process.members())
        wait_until(
            lambda: self.log.read_text().count("Reloading config") > before, "the new rights"
        )

    def ready(self) -> bool:
        return answers(self.host, self.port_number)

    def address_of(self, user: str, password: str) -> str:
        """Return the address with credentials, as they have to be written."""
        names = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"mqtt://{names}@{self.host}:{self.port_number}"


class WithPlugin(Mosquitto):
    """Mosquitto whose rights are those of its plugin for dynamic security."""

    def prepare(self) -> None:
        super().prepare()
        may = [
            {"acltype": "subscribeLiteral", "topic": "uploads", "allow": True},
            {"acltype": "publishClientSend", "topic": "$CONTROL/#", "allow": True},
        ]
        rights = self.data / "rights.json"
        rights.touch(0o600)
        rights.write_text(
            json.dumps(
                {
                    "defaultACLAccess": {"publishClientReceive": True, "unsubscribe": True},
                    "clients": [],
                    "roles": [{"rolename": "all", "acls": may}],
                    "groups": [{"groupname": "all", "roles": [{"rolename": "all"}]}],
                    "anonymousGroup": "all",
                }
            )
        )
        with self.configuration.open("a") as configuration:
            library = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
            configuration.write(f"plugin {library}\nplugin_opt_config_file {rights}\n")

    def ready(self) -> bool:
        return answers(self.host, self.port_number)


@pytest.fixture
def module(server: Server, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as a snippet imports it, for the server of the test."""
    return module_for(server.address, monkeypatch)


def module_for(address: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("MQTT_URL", address)
    return load(SNIPPETS / "mqtt_session.py")


class Proxy:
    """What stands between a client and its server, and can cut or swallow."""

    def __init__(self, server: Server) -> None:
        self.to = server.host, server.port_number
        self.swallows = False
        self.writers: list[asyncio.StreamWriter] = []
        self.pumps: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.to)
        self.writers += writer, back
        self.pumps += (
            asyncio.create_task(self.pump(reader, back)),
            asyncio.create_task(self.pump(there, writer)),
        )

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self.swallows:
                    writer.write(data)

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def proxied(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Proxy, Any]]:
    """Run a proxy before the server; yield it, and the module for its address."""
    proxy = Proxy(server)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    yield proxy, module_for(f"mqtt://127.0.0.1:{port}", monkeypatch)
    proxy.cut()
    listener.close()


async def first(session: Any) -> Any:
    return await asyncio.wait_for(anext(session.messages()), PATIENCE)


async def error_of(awaitable: Any) -> str:
    """Return the name and the text of the exception with which something ends."""
    try:
        await asyncio.wait_for(awaitable, PATIENCE)
    except (OSError, StopAsyncIteration) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_what_is_not_acknowledged_comes_again(module: Any) -> None:
    async def main() -> None:
        async with module.connect("worker", WEEK) as session:
            assert not session.present
            await session.subscribe("uploads")
            for video in ("cat.mp4", "dog.mp4"):
                assert await session.publish("uploads", video)
            assert not await session.publish("nobody", "cat.mp4")
            session.ack(await first(session))
            assert (await first(session)).payload == b"dog.mp4"
        async with module.connect("worker", WEEK) as session:
            assert session.present
            again = await first(session)
            assert (again.payload, again.dup) == (b"dog.mp4", True)
            session.ack(again)
            with pytest.raises(TimeoutError, match=r"no message in 0\.5 s"):
                await anext(session.messages(seconds=0.5))
            # A wait that was given up takes no message with it.
            await session.publish("uploads", "owl.mp4")
            assert (await first(session)).payload == b"owl.mp4"

    asyncio.run(main())


def test_a_killed_server_ends_the_session_with_an_error(
    module: Any, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with module.connect("worker", WEEK) as session:
            await session.subscribe("uploads")
            waiting = asyncio.create_task(error_of(first(session)))
            await asyncio.sleep(0)
            server.kill()
            assert "ConnectionError: the MQTT connection is lost" in await waiting
            assert "is lost" in await error_of(session.publish("uploads", "cat.mp4"))
            assert "is lost" in await error_of(first(session))
        assert "refused" in await error_of(module.connect("worker", WEEK).__aenter__())
        server.start()
        caplog.clear()
        async with module.connect("worker", WEEK) as session:
            # Mosquitto had not saved it: whoever connects has to subscribe again.
            assert not session.present
            assert "session 'worker' is new" in caplog.text
            assert not await session.publish("uploads", "cat.mp4")
            await session.subscribe("uploads")
            assert await session.publish("uploads", "dog.mp4")
            assert (await first(session)).payload == b"dog.mp4"

    asyncio.run(main())


def test_a_cut_connection_ends_the_session_with_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with proxied(server, monkeypatch) as (proxy, module), module.connect() as session:
            await session.subscribe("uploads")
            waiting = asyncio.create_task(error_of(first(session)))
            await asyncio.sleep(0)
            proxy.cut()
            assert "ConnectionError: the MQTT connection is lost" in await waiting
            with pytest.raises(ConnectionError, match="is lost"):
                session.ack(None)

    asyncio.run(main())


def test_a_silent_connection_is_noticed_within_a_minute(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with proxied(server, monkeypatch) as (proxy, module):
            assert 2 * module.KEEPALIVE < 60
            assert module.ANSWER_SECONDS < 60
            module.KEEPALIVE = module.ANSWER_SECONDS = 5
            async with module.connect() as session:
                await session.subscribe("uploads")
                proxy.swallows = True
                waiting = asyncio.create_task(error_of(first(session)))
                said = await error_of(session.publish("uploads", "cat.mp4"))
                assert said == "TimeoutError: the MQTT server says nothing to: publish to uploads"
                assert "is lost: Keep alive timeout" in await waiting

    asyncio.run(main())


def test_a_session_that_another_took_over_says_so(module: Any) -> None:
    async def main() -> None:
        async with module.connect("worker", WEEK) as session:
            waiting = asyncio.create_task(error_of(first(session)))
            async with module.connect("worker", WEEK):
                assert "is lost: Session taken over" in await waiting

    asyncio.run(main())


@pytest.mark.parametrize("goodbye", [True, False])
def test_a_will_is_published_however_the_connection_ends(
    goodbye: bool, module: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with proxied(server, monkeypatch) as (proxy, bad), module.connect() as watcher:
            await watcher.subscribe("camera/alive")
            async with bad.connect("camera", will="camera/alive") as camera:
                await camera.publish("camera/alive", "online", retain=True)
                online = await first(watcher)
                watcher.ack(online)
                if not goodbye:
                    proxy.cut()
                    await error_of(first(camera))
            gone = await first(watcher)
            assert (online.payload, gone.payload) == (b"online", b"offline")
        async with module.connect() as newcomer:
            await newcomer.subscribe("camera/alive")
            assert (await first(newcomer)).payload == b"offline"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("mqtt://localhost", ("localhost", 1883)),
        ("mqtts://localhost", ("localhost", 8883)),
        ("mqtts://[::1]:1884", ("::1", 1884)),
    ],
)
def test_each_scheme_has_its_port(
    address: str, place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = module_for(address, monkeypatch)
    asked: list[tuple[str, int]] = []

    def connect(_: object, host: str, port: int, *__: object, **___: object) -> None:
        asked.append((host, port))
        raise OSError("asked")

    async def main() -> None:
        with pytest.raises(OSError, match="asked"):
            async with module.connect():
                pass

    monkeypatch.setattr(module.Client, "connect", connect)
    asyncio.run(main())
    assert asked == [place]


def test_a_refusal_names_the_topic(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(own: WithAccounts) -> None:
        module: Any = module_for(own.address_of(USER, PASSWORD), monkeypatch)
        async with module.connect() as session:
            assert not await session.publish("uploads", "cat.mp4")  # allowed; nobody has it
            said = await error_of(session.publish("views", "cat.mp4"))
            assert said == "ConnectionError: MQTT: publish to views: Not authorized"
        wrong: Any = module_for(own.address_of(USER, "password"), monkeypatch)
        said = await error_of(wrong.connect("worker").__aenter__())
        assert said == "ConnectionError: MQTT: connect as 'worker': Not authorized"

    with server.another(WithAccounts) as own:
        asyncio.run(main(own))


def test_with_an_acl_file_a_refused_subscription_looks_like_an_empty_topic(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(own: WithAccounts) -> None:
        worker: Any = module_for(own.address_of("worker", "plain"), monkeypatch)
        uploader: Any = module_for(own.address_of(USER, PASSWORD), monkeypatch)
        async with worker.connect() as session, uploader.connect() as other:
            await session.subscribe("uploads")  # it is granted, without the right
            # Whoever publishes is told that somebody has it.
            assert await other.publish("uploads", "cat.mp4")
            with pytest.raises(TimeoutError, match="no message"):
                await anext(session.messages(seconds=1))

    with server.another(WithAccounts) as own:
        asyncio.run(main(own))


def test_a_right_to_read_that_is_taken_away_is_in_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server grants the subscription still, and says nothing: only the quiet can be seen."""
    said = "MQTT: no message on uploads in 1 s; if any was sent, this account may have no right"

    async def main(own: WithAccounts) -> None:
        own.change_rights(own.MAY_READ)
        worker: Any = module_for(own.address_of("worker", "plain"), monkeypatch)
        uploader: Any = module_for(own.address_of(USER, PASSWORD), monkeypatch)
        worker.QUIET_SECONDS = 1
        async with worker.connect("worker", WEEK) as session, uploader.connect() as other:
            await session.subscribe("uploads")
            waiting = asyncio.create_task(first(session))
            assert await other.publish("uploads", "cat.mp4")
            session.ack(await waiting)
            own.change_rights()
            caplog.clear()
            waiting = asyncio.create_task(first(session))
            assert await other.publish("uploads", "dog.mp4")
            await session.subscribe("uploads")
            await asyncio.to_thread(wait_until, lambda: said in caplog.text, "the log")
            assert not waiting.done()
            own.change_rights(own.MAY_READ)
            assert await other.publish("uploads", "owl.mp4")
            assert (await waiting).payload == b"owl.mp4"  # and the dog is lost

    with server.another(WithAccounts) as own, caplog.at_level(logging.WARNING):
        asyncio.run(main(own))


def test_a_quiet_topic_is_in_the_log_ever_less_often(
    module: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        module.QUIET_SECONDS = 0.1
        async with module.connect() as session:
            await session.subscribe("views")
            await session.subscribe("uploads")
            waiting = asyncio.create_task(first(session))
            await asyncio.to_thread(wait_until, lambda: len(caplog.records) > 2, "the log")
            waiting.cancel()

    asyncio.run(main())
    said = [it.getMessage().partition("; if")[0] for it in caplog.records]
    assert said[:3] == [f"MQTT: no message on uploads, views in {it} s" for it in (0.1, 0.2, 0.4)]


def test_with_the_plugin_a_refused_subscription_raises(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = {"command": "removeRoleACL", "rolename": "all"}
    command |= {"acltype": "subscribeLiteral", "topic": "uploads"}

    async def main(own: WithPlugin) -> None:
        module: Any = module_for(own.address, monkeypatch)
        async with module.connect("worker") as session, module.connect("operator") as operator:
            await session.subscribe("uploads")
            said = await error_of(session.subscribe("views"))
            assert said == "ConnectionError: MQTT: subscribe to views: Not authorized"
            # A right that is taken away ends the connections of those who had it.
            waiting = asyncio.create_task(error_of(first(session)))
            take_away = json.dumps({"commands": [command]})
            with suppress(ConnectionError):
                await operator.publish("$CONTROL/dynamic-security/v1", take_away)
            assert "is lost: Administrative action" in await waiting

    with server.another(WithPlugin) as own:
        asyncio.run(main(own))
