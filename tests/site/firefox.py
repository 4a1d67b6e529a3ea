"""Firefox, driven by its own WebDriver BiDi: what Chromium alone would not show.

Playwright's own Firefox is a build that only its makers publish, and Debian's does not know yet all
that Playwright asks of it. The tests need little: a page, a script in it, and keys.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.brokers import debian
from tests.brokers.generations import STABLE

PROGRAM = "firefox-esr"
#: Without a window; nothing is asked of anybody, and the port is one that is free.
FLAGS = ("--headless", "--no-remote", "--remote-debugging-port=0", "--profile")
PREFERENCES = {
    "app.update.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.prefetch-next": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
    "ui.prefersReducedMotion": 1,
}


def command() -> list[str] | None:
    """Return how Firefox is started: as the environment or this machine has it, or Debian's."""
    found = os.environ.get("FIREFOX") or shutil.which(PROGRAM) or shutil.which("firefox")
    if found:
        return [found]
    return debian.command(PROGRAM, of=STABLE) if debian.has(PROGRAM, STABLE) else None


class Firefox:
    """A running Firefox."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.numbers = socket, count(1)
        self.ask("session.new", capabilities={})

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return what Firefox answers to it."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=300))).get("id") != number:
            pass  # what Firefox tells by itself
        assert answer["type"] == "success", answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> Tab:
        """Open a page in a tab of its own, and wait until it is loaded."""
        tab = Tab(self, self.ask("browsingContext.create", type="tab")["context"])
        self.ask("browsingContext.navigate", context=tab.context, url=address, wait="complete")
        return tab


@dataclass(frozen=True)
class Tab:
    """One page that is open."""

    browser: Firefox
    context: str

    def run(self, script: str, *given: Any) -> Any:
        """Return what a function of the page returns, or what its promise comes to."""
        arguments = ", ".join(map(json.dumps, given))
        answer = self.browser.ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({script})({arguments}) ?? null))()",
            target={"context": self.context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def press(self, key: str) -> None:
        """Press a key where the page has the focus."""
        self.browser.ask("browsingContext.activate", context=self.context)
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": strokes}
        self.browser.ask("input.performActions", context=self.context, actions=[keyboard])


@contextmanager
def firefox(start: list[str], folder: Path) -> Iterator[Firefox]:
    """Start Firefox with an empty profile in `folder`, and end it."""
    profile, said = folder / "profile", folder / "said"
    profile.mkdir()
    lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))
    for each in (folder, profile):  # under bubblewrap it runs as an ordinary user
        each.chmod(0o777)
    environment = os.environ | {"HOME": str(folder)}
    with (
        said.open("w") as out,
        subprocess.Popen(
            [*start, *FLAGS, str(profile)], env=environment, stdout=out, stderr=out
        ) as running,
    ):
        try:
            port = wait_for(profile / "WebDriverBiDiServer.json", running, said)["ws_port"]
            with connect(f"ws://127.0.0.1:{port}/session", max_size=None) as socket:
                yield Firefox(socket)
        finally:
            running.terminate()


def wait_for(written: Path, by: subprocess.Popen[bytes], said: Path) -> dict[str, Any]:
    """Return what Firefox writes once it listens."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and by.poll() is None:
        with suppress(FileNotFoundError, json.JSONDecodeError):  # not yet, or not the whole of it
            found: dict[str, Any] = json.loads(written.read_text())
            return found
        time.sleep(0.05)
    raise RuntimeError(f"Firefox does not listen:\n{said.read_text()}")
