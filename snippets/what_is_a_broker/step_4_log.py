# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Step 4, a durable log: records stay on disk, each group has its place."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple


class Message(NamedTuple):
    id: int  # its offset
    body: str


class Log:
    """A file to which lines are only ever added."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a+b")
        self.file.seek(0)
        self.starts = [0]  # where each record begins, and the next one will
        for line in self.file:
            if line.endswith(b"\n"):
                self.starts.append(self.starts[-1] + len(line))
        self.file.truncate(self.starts[-1])  # Half a record was not confirmed.

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, offset: int) -> str:
        self.file.seek(self.starts[offset])
        return str(json.loads(self.file.readline()))

    def append(self, text: str) -> int:
        line = json.dumps(text).encode() + b"\n"
        self.file.write(line)
        self.file.flush()  # It has left: a kill cannot take it now.
        os.fsync(self.file.fileno())  # Nor can a power cut take it now.
        self.starts.append(self.starts[-1] + len(line))
        return len(self) - 1


class Broker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs: dict[str, Log] = {}
        self.waiting: list[asyncio.Event] = []  # readers at the end of a log
        self.committed: dict[tuple[str, str], int] = {}
        self.commits = self.open("commits")  # what groups say is a log, too
        for n in range(len(self.commits)):
            log, group, offset = self.commits[n].split()
            self.committed[log, group] = int(offset)

    def open(self, log: str) -> Log:
        if log not in self.logs:
            self.logs[log] = Log(self.folder / f"{log}.log")
        return self.logs[log]

    def append(self, log: str, body: str) -> int:
        """Write a record at the end of a log; return its offset."""
        offset = self.open(log).append(body)
        while self.waiting:
            self.waiting.pop().set()
        return offset

    async def read(self, log: str, group: str) -> AsyncIterator[Message]:
        """Read on from what the group committed, and wait for more."""
        offset = self.committed.get((log, group), 0)
        while True:
            if offset < len(records := self.open(log)):
                yield Message(offset, records[offset])
                offset += 1
            else:
                self.waiting.append(wake := asyncio.Event())
                await wake.wait()

    def commit(self, log: str, group: str, record: Message) -> None:
        """The group has worked off every record up to this one."""
        self.committed[log, group] = record.id + 1
        self.commits.append(f"{log} {group} {record.id + 1}")


async def process(role: str, folder: Path) -> None:
    """One life of the broker's process; each step waits to be told."""
    broker = Broker(folder)
    if role == "web":
        for video in ("cat.mp4", "dog.mp4", "owl.mp4"):
            offset = broker.append("uploads", video)
            print(f"web: {video} is stored at offset {offset}", flush=True)
            await asyncio.to_thread(input)
    async for record in broker.read("uploads", group=role):
        print(f"{role}: works on {record.id}, {record.body}", flush=True)
        await asyncio.to_thread(input)
        broker.commit("uploads", role, record)


async def live(role: str, folder: str, lines: int) -> None:
    """Start a process, let it print so many lines, then kill it."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, role, folder), stdin=PIPE, stdout=PIPE
    )
    assert child.stdin
    assert child.stdout
    for number in range(lines):
        if number:
            child.stdin.write(b"\n")  # It goes on.
        print((await child.stdout.readline()).decode(), end="")
    child.kill()  # SIGKILL gives it no chance to tidy up.
    await child.wait()
    print("-- the process is killed")


async def main() -> None:
    with TemporaryDirectory() as folder:
        await live("web", folder, lines=3)
        await live("search", folder, lines=2)
        await live("search", folder, lines=2)
        await live("mail", folder, lines=1)


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(process(sys.argv[1], Path(sys.argv[2])))
    else:
        asyncio.run(main())
