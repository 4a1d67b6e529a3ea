"""Run a program of ours in namespaces of its own, where it can make machines and break them."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.brokers import debian
from tests.brokers.generations import NEWEST

#: Debian's names of the packages whose programs it takes.
TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "bwrap": "bubblewrap",
    "mkfs.ext4": "e2fsprogs",
}
#: A file system in memory, which is there for this program and what it starts, and for no other.
PLACE = Path("/run/lab")
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
#: What the lab does with its rights, in small: a file system in memory, and a disk in it.
_TRIAL = """
set -e
mount -t tmpfs tmpfs /run
mount -t devtmpfs devtmpfs /dev || true
truncate -s 16M /run/disk
mkfs.ext4 -q /run/disk
mkdir /run/mounted
mount -o loop /run/disk /run/mounted
ip link add v1 type veth peer name v2
ip rule add from 10.77.1.2 to 10.77.2.2 blackhole
"""


@functools.cache
def missing() -> str:
    """Return in one line why there can be no cluster on this machine; nothing if there can."""
    if lacking := sorted({TOOLS[tool] for tool in TOOLS if not shutil.which(tool, path=_path())}):
        return f"clusters of three need programs of these packages: {', '.join(lacking)}"
    if not debian.folder(NEWEST).is_dir():
        return "clusters of three run the newest servers: GENERATION=newest make servers"
    tried = subprocess.run(
        [*_UNSHARE, "sh", "-c", _TRIAL],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": _path()},
    )
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"clusters of three need root with CAP_SYS_ADMIN and loop devices: {said}"
    return ""


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class InsideError(Exception):
    """A program inside failed, or came to no end. The text has the end of what it said."""


async def run(module: str, *arguments: str, seconds: float) -> str:
    """Run a module inside, for as long as this process lives; return what it prints."""
    reading, writing = os.pipe()
    program = None
    try:
        try:
            program = await asyncio.create_subprocess_exec(
                *(*_UNSHARE, sys.executable, "-m", module, *arguments),
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # Ctrl-C is for the program outside
                env={**os.environ, "PATH": _path()},
            )
        finally:
            os.close(reading)
        said, errors = await asyncio.wait_for(program.communicate(), seconds)
    except TimeoutError:
        raise InsideError(f"{module} {' '.join(arguments)} took more than {seconds:g} s") from None
    finally:
        os.close(writing)  # nobody holds this end any more: the program inside ends
        if program:
            await program.wait()
    if program.returncode:
        raise InsideError(f"{module} {' '.join(arguments)}:\n{errors.decode()[-6000:]}")
    return said.decode()


def enter() -> None:
    """Begin, inside: end with the program outside, and have a place that nobody else sees."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    # It has a node for each loop device that there will be, which a container's own /dev has not.
    # Where it is mounted already, mounting it is an error.
    with suppress(subprocess.CalledProcessError):
        _run("mount", "-t", "devtmpfs", "devtmpfs", "/dev")
    PLACE.mkdir()


def _end_with_parent() -> None:
    """Wait until nobody holds the other end of the input any more, however they ended."""
    while os.read(0, 4096):
        pass
    # The first process of its namespace: the kernel ends all others, and then mounts and links go.
    os._exit(1)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
