"""RabbitMQ as a child process, with its management API to look in and to clean up."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from tests.brokers import debian
from tests.brokers.server import Server, answers, wait_until
from tests.brokers.versions import printed_by

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
#: How long its management may fail because the machine is busy.
BUSY_SECONDS = 60
#: Its management listens before it can answer.
HTTP_REQUEST = (
    b"GET /api/overview HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n"
)


class Rabbitmq(Server):
    """RabbitMQ 4 or later: one node, one virtual host, the guest account."""

    key = "rabbitmq"
    management = 15672
    beside = f", with its management plugin at port {management}"

    @classmethod
    def on_machine(cls) -> bool:
        found = re.search(r"^(\d[\d.]+)", printed_by("rabbitmqctl", "version"), re.MULTILINE)
        return found is not None and cls.taught(found[1])

    @classmethod
    def in_folder(cls) -> bool:
        return debian.has("rabbitmq-server")

    def prepare(self) -> None:
        self.port_number = self.port(5672)
        self.management = self.port(15672)
        self.distribution = self.port(25672)
        self.name_server = self.port(4369)
        cookie = self.data / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("HANDBOOK")
            cookie.chmod(0o400)
        (self.data / "plugins").write_text("[rabbitmq_management].\n")
        (self.data / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port_number}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.management}\n"
            "log.console = true\n"
            "log.console.level = warning\n"
            "log.file = false\n"
            "disk_free_limit.absolute = 64MB\n"
        )

    def environment(self) -> dict[str, str]:
        return {
            "ERL_EPMD_PORT": str(self.name_server),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": f"handbook{self.port_number}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port_number),
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_MNESIA_BASE": f"{self.data}/mnesia",
            "RABBITMQ_LOG_BASE": f"{self.data}/log",
            "RABBITMQ_SCHEMA_DIR": f"{self.data}/schema",
            "RABBITMQ_CONFIG_FILE": f"{self.data}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{self.data}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.data}/plugins",
            "RABBITMQ_PID_FILE": f"{self.data}/pid",
            # Two schedulers that do not spin while idle: the machine has other work to do.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def command(self) -> list[str]:
        return self.source.command("rabbitmq-server")

    def ready(self) -> bool:
        return answers(self.host, self.port_number, PROTOCOL_HEADER, b"\x01") and answers(
            self.host, self.management, HTTP_REQUEST, b"HTTP/1.1 200"
        )

    def own_address(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port_number}/"

    def ask(self, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
        """Call the management API; return what it answers, decoded from JSON.

        A busy one ends a connection, or says that it failed: then it is asked again.
        """
        request = urllib.request.Request(
            f"http://{self.host}:{self.management}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
        deadline = time.monotonic() + BUSY_SECONDS
        again = False
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    said = answer.read()
            except HTTPError as error:
                if method == "DELETE" and again and error.code == HTTPStatus.NOT_FOUND:
                    return None  # the time before has done it
                if error.code < HTTPStatus.INTERNAL_SERVER_ERROR or time.monotonic() > deadline:
                    raise
            except OSError as error:
                cause = getattr(error, "reason", error)
                busy = isinstance(cause, (ConnectionResetError, TimeoutError))
                if not busy or time.monotonic() > deadline:
                    raise
            else:
                return json.loads(said) if said else None
            again = True
            time.sleep(0.1)

    def control(self, *arguments: str) -> None:
        """Run `rabbitmqctl`, as an operator does."""
        self._ours()
        subprocess.run(
            self.source.command("rabbitmqctl", "-q", *arguments),
            env={**os.environ, "HOME": str(self.data), **self.environment()},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def version(self) -> str:
        return f"RabbitMQ {self.ask('overview')['rabbitmq_version']}"

    def write_down_queues(self) -> None:
        """Have it write down which quorum queues it has, which it does half a second later.

        RabbitMQ forgets the member of a queue that was declared right before it is killed. On 4.0.5
        the queue has no leader then, and whoever declares it waits for ever; on 4.3.6 it is empty.
        """
        self.control("eval", "mnesia:sync_log(), [dets:sync(Table) || Table <- dets:all()].")

    def empty(self) -> None:
        for queue in self.ask("queues?disable_stats=true"):
            if queue["exclusive"]:
                continue
            try:
                self.ask(f"queues/%2F/{quote(queue['name'], safe='')}", "DELETE")
            except HTTPError as error:
                # A queue that deletes itself may be gone by now, like its last consumer.
                if error.code != HTTPStatus.NOT_FOUND:
                    raise
        # Those of one connection go by themselves, once the server has seen its end.
        wait_until(
            lambda: not self.ask("queues?disable_stats=true"), "RabbitMQ to have no queue left"
        )
        for exchange in self.ask("exchanges"):
            if exchange["name"] and not exchange["name"].startswith("amq."):
                self.ask(f"exchanges/%2F/{quote(exchange['name'], safe='')}", "DELETE")
