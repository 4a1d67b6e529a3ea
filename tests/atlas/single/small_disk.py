"""A server whose data is on a small disk, and later on a larger one.

The small disk is a file system in memory, which only the server sees: it is gone with it, and with
the handle by which the data is brought to the larger disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, TypeVar

from tests.brokers import Server
from tests.brokers.server import wait_until

Kind = TypeVar("Kind", bound=Server)


def on_small_disk(kind: type[Kind], folder: str, megabytes: float) -> Any:
    """Return a kind of server whose folder of data is on a disk of that size, until `enlarge()`."""
    base: Any = kind

    class OnSmallDisk(base):  # type: ignore[misc]
        small = True
        handle = -1

        @property
        def folder(self) -> Path:
            return Path(self.data / folder)

        def prepare(self) -> None:
            super().prepare()
            if self.folder.exists():
                self.folder.rename(self._first)
            self._first.mkdir(exist_ok=True)
            self.folder.mkdir()

        @property
        def _first(self) -> Path:
            return self.folder.with_suffix(".first")

        def command(self) -> list[str]:
            command: list[str] = super().command()
            if not self.small:
                return command
            return [
                *("bwrap", "--die-with-parent", "--dev-bind", "/", "/"),
                *("--size", str(int(megabytes * 1_000_000)), "--tmpfs", str(self.folder), "--"),
                *("sh", "-c", 'cp -a "$0/." "$1/" && shift && exec "$@"'),
                *(str(self._first), str(self.folder)),
                *command,
            ]

        def start(self) -> None:
            super().start()
            if self.small:
                [member, *_] = self._process.members()
                place = f"/proc/{member.pid}/root{self.folder}"
                self.handle = os.open(place, os.O_PATH | os.O_DIRECTORY)

        def enlarge(self) -> None:
            """End the server by kill -9, if it has not ended itself; move its data; start it."""
            self.kill()
            shutil.copytree(f"/proc/self/fd/{self.handle}", self.folder, dirs_exist_ok=True)
            os.close(self.handle)
            self.handle = -1
            self.small = False
            self.start()

        def ends(self) -> None:
            """Wait until the server has ended by itself."""
            wait_until(lambda: not self.running, "the server to end")

        def close(self) -> None:
            if self.handle >= 0:
                os.close(self.handle)
            super().close()

    return OnSmallDisk
