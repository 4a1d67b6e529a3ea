"""The project's own folder of servers: a small Debian, and the programs in it.

A program of the folder runs under bubblewrap: its own view of the files, its own process
namespace. When the process that started it ends, for whatever reason, the kernel ends
everything in that namespace, so nothing is left running and nothing is ever mounted outside it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.brokers.generations import Generation, wanted

#: Debian's user without rights: some servers refuse to run as root, some drop to a user.
NOBODY = "65534"
_NOBODY_INSIDE = ("--unshare-user", "--uid", NOBODY, "--gid", NOBODY)

#: The variable with the number of the process that began this run of tests.
RUN = "HANDBOOK_RUN"

#: Seen at the same place inside and outside, so that a server and its test share paths.
SHARED = Path("/tmp")
#: Seen likewise, where it is there: files that wait for no disk, and outlive their program.
MEMORY = Path("/dev/shm")


def cache() -> Path:
    """Return the folder that keeps what set-up downloads, outside of the working tree."""
    chosen = os.environ.get("HANDBOOK_CACHE")
    if chosen:
        return Path(chosen).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).resolve() / "message-brokers-handbook"


def _chosen() -> Generation:
    """Return what runs: where the newest servers can't be had, the stable ones do."""
    first, *others = wanted()
    if os.environ.get("BROKERS") == "required":
        return first
    there = (each for each in (first, *others) if (cache() / f"debian-{each.suite}").exists())
    return next(there, first)


#: What runs.
CHOSEN = _chosen()


def folder(of: Generation = CHOSEN) -> Path:
    """Return where the Debian folder is, or will be."""
    return cache() / f"debian-{of.suite}"


def kafka_jars(of: Generation = CHOSEN) -> Path:
    """Return the folder with Kafka's jars, as the machine sees it."""
    return folder(of) / "opt" / "kafka"


def _search_path(of: Generation) -> tuple[str, ...]:
    """Return where programs are, some of them not on the search path of an ordinary shell."""
    postgresql = f"/usr/lib/postgresql/{of.postgresql}/bin"
    usual = ("/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    return (postgresql, "/usr/lib/rabbitmq/bin", *usual)


def has(program: str, of: Generation = CHOSEN) -> bool:
    """Tell whether the folder holds `program`, and whether this machine can run it."""
    root = folder(of)
    return shutil.which("bwrap") is not None and any(
        (root / place.lstrip("/") / program).exists() for place in _search_path(of)
    )


def command(program: str, *arguments: str, of: Generation = CHOSEN) -> list[str]:
    """Return the command line that runs a program of the folder as an ordinary user."""
    # No more of it: what a killed PostgreSQL leaves there has to go with its own /dev/shm.
    ours = str(MEMORY / f"handbook-{os.environ.get(RUN)}")
    return [
        "bwrap",
        *_NOBODY_INSIDE,
        *("--unshare-pid", "--die-with-parent"),
        *("--ro-bind", str(folder(of)), "/"),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--bind", str(SHARED), str(SHARED)),
        *("--bind-try", ours, ours),
        *("--setenv", "PATH", ":".join(_search_path(of))),
        program,
        *arguments,
    ]


def on_machine(program: str) -> str | None:
    """Return the path of a program of this machine, which need not be on a shell's search path."""
    servers = [*Path("/usr/lib/postgresql").glob("*/bin"), Path("/usr/lib/rabbitmq/bin")]
    places = [*map(str, sorted(servers, reverse=True)), os.environ.get("PATH", ""), "/usr/sbin"]
    return shutil.which(program, path=":".join(places))


def on_this_machine(program: str, *arguments: str) -> list[str]:
    """Return the command line for a program of this machine, tied to its parent if it can be."""
    run = [on_machine(program) or program, *arguments]
    if shutil.which("bwrap") is None:
        return run
    # Some servers refuse to run as root; seen from inside, root is nobody.
    user = _NOBODY_INSIDE if os.geteuid() == 0 else ()
    return [
        "bwrap",
        *user,
        *("--unshare-pid", "--die-with-parent"),
        *("--dev-bind", "/", "/", "--proc", "/proc"),
        *run,
    ]
