"""The process in which a snippet's functions live while a claim is tested.

It reads commands from its standard input and writes events to its standard output, one JSON
object a line. A real broker's publisher or worker has a process of its own, so that SIGKILL is a
crash; the minibroker lives in one process with all of its clients.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import re
import signal
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, overload

SNIPPETS = Path(__file__).parents[2] / "snippets"
#: How the tasks begin that only show that a worker works; no handler holds them.
WARM_UP = "warm-up"


def say(**event: object) -> None:
    print(json.dumps({**event, "at": time.time()}), flush=True)


def load(path: Path) -> ModuleType:
    """Import a snippet with the modules beside it or, if there are none, with those of snippets/.

    A changed copy that the same process has imported before is not what it gets.
    """
    sys.path[:0] = [str(path.parent), str(SNIPPETS)]
    for shared in SNIPPETS.glob("*.py"):
        beside = path.parent / shared.name
        known = getattr(sys.modules.get(shared.stem), "__file__", None)
        if known and Path(known) != (beside if beside.exists() else shared):
            del sys.modules[shared.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    vars(module)["asyncio"] = asyncio  # for what a test puts into its copy
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def companions_as_found() -> Iterator[None]:
    """Leave the modules of snippets/ as they were: other tests hold them, and change them."""
    names = [companion.stem for companion in SNIPPETS.glob("*.py")]
    path, found = [*sys.path], {name: sys.modules.get(name) for name in names}
    try:
        yield
    finally:
        sys.path[:] = path
        for name, module in found.items():
            if module:
                sys.modules[name] = module
            else:
                sys.modules.pop(name, None)


@asynccontextmanager
async def opened(function: Any, arguments: Mapping[str, Any]) -> AsyncIterator[tuple[Any, ...]]:
    """Open what the function takes first, if that is not given: by its module's `connect()`."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.name in arguments or first.default is not first.empty:
        yield ()
    else:
        async with sys.modules[function.__module__].connect() as it:
            yield (it,)


class Interrupted(Sequence[str]):
    """Messages whose reader stops in front of the second half until `go` is set.

    It stops the whole event loop, so that nothing of the second half leaves before.
    """

    def __init__(self, actor: str, items: list[str], go: threading.Event) -> None:
        self.actor, self.items, self.go = actor, items, go

    def __iter__(self) -> Iterator[str]:
        for index, item in enumerate(self.items):
            if index == len(self.items) // 2:
                say(actor=self.actor, halfway=True)
                self.go.wait(60)
            yield item

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self.items[index]


class Home:
    """The actors of one process."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.released: set[str] = set()
        self.release = asyncio.Event()
        self.pauses: dict[str, threading.Event] = {}

    def obey(self, command: dict[str, Any]) -> None:
        actor = command["actor"]
        if command["do"] == "spawn":
            self.gates[actor] = asyncio.Event()
            self.tasks[actor] = asyncio.create_task(self.act(actor, command))
        elif command["do"] == "release":
            if command.get("label"):
                self.released.add(command["label"])
                self.release.set()
                self.release = asyncio.Event()
            else:
                self.gates[actor].set()
        elif command["do"] == "kill":
            self.tasks[actor].cancel()

    async def act(self, actor: str, command: dict[str, Any]) -> None:
        function = getattr(self.module, command["function"])
        arguments = dict(command["arguments"])
        if command["handler"]["mode"] == "halfway":
            name = next(name for name, value in arguments.items() if isinstance(value, list))
            arguments[name] = Interrupted(actor, arguments[name], self.pauses[actor])
        if "handle" in inspect.signature(function).parameters:
            arguments["handle"] = self.handler(actor, **command["handler"])
        try:
            async with opened(function, arguments) as needs:
                value = await function(*needs, **arguments)
        except asyncio.CancelledError:
            say(actor=actor, cancelled=True)
            raise
        except Exception as error:
            while isinstance(error, ExceptionGroup):  # a traceback shows what is in it
                error = error.exceptions[0]
            say(actor=actor, error=f"{type(error).__name__}: {error}")
        else:
            say(actor=actor, returned=True, value=value)

    def handler(self, actor: str, mode: str, only: str, times: int | None) -> Any:
        seen = Counter[str]()

        async def obeying(item: str) -> None:
            match told(item):
                case "fail":
                    raise RuntimeError("this handler was told to fail")
                case "hold":
                    while not any(label in item for label in self.released):
                        await self.release.wait()

        async def handle(item: str, *more: Any) -> str:
            say(actor=actor, taken=item, more=more)
            seen[item] += 1
            if mode == "as told":
                await obeying(" ".join(each for each in (item, *more) if isinstance(each, str)))
            chosen = only in item and (times is None or seen[item] <= times)
            if mode == "fail" and chosen:
                raise RuntimeError("this handler was told to fail")
            if mode == "cancelled" and chosen:  # as by what it waited for
                raise asyncio.CancelledError
            if mode == "hold" and chosen and not item.startswith(WARM_UP):
                await self.gates[actor].wait()
            say(actor=actor, done=item, beside=more)
            return f"{item}: done"

        return handle


def told(text: str) -> str:
    """Return what a message asks of its handler. What fails once does so in one process only."""
    found = re.search(r"must-[a-z-]+[0-9-]*", text)
    item = found[0] if found else ""
    if "must-hold" in item:
        return "hold"
    if "must-fail-once" in item:
        mark = Path(f"failed-{zlib.crc32(item.encode())}")
        if mark.exists():
            return "do"
        mark.touch()
    return "fail" if "must-fail" in item else "do"


async def main(snippet: Path) -> None:
    home = Home(load(snippet))
    loop = asyncio.get_running_loop()
    commands: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "spawn":
                home.pauses[command["actor"]] = threading.Event()
            if command["do"] == "continue":
                home.pauses[command["actor"]].set()
            else:
                loop.call_soon_threadsafe(commands.put_nowait, command)
        for pause in home.pauses.values():
            pause.set()  # whoever gave the commands is gone: the loop must see its end
        loop.call_soon_threadsafe(commands.put_nowait, None)

    # A service that is asked to end: what runs is cancelled. A snippet may have a handler too.
    loop.add_signal_handler(signal.SIGTERM, commands.put_nowait, None)
    threading.Thread(target=read, daemon=True).start()
    say(ready=True)
    while command := await commands.get():
        home.obey(command)
    for task in home.tasks.values():
        task.cancel()
    await asyncio.gather(*home.tasks.values(), return_exceptions=True)
