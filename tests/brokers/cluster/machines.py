"""Three machines behind a router, in which clients run: programs, links, disks that lose power.

client, in the router (10.77.N.1)  --veth--  machine N (10.77.N.2), for N = 1, 2, 3
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.brokers import debian
from tests.brokers.cluster.inside import PLACE
from tests.brokers.generations import NEWEST

NUMBERS = (1, 2, 3)
SERVERS = debian.folder(NEWEST)
_PATH = (
    f"/usr/lib/postgresql/{NEWEST.postgresql}/bin:/usr/lib/rabbitmq/bin"
    ":/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)


def address(number: int) -> str:
    """Return the address of a machine, for clients and for the other machines."""
    return f"10.77.{number}.2"


def run(*command: str) -> str:
    """Run a command of the lab's own; an error has what it said."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Program:
    """A server with its helpers on one machine. It is started from the main thread only.

    Bubblewrap's `--die-with-parent` means the thread that has started it.
    """

    def __init__(
        self, machine: Machine, name: str, command: list[str], environment: Mapping[str, str]
    ):
        self.machine = machine
        self.log = PLACE / f"n{machine.number}-{name}.log"  # not on the disk that loses power
        self.command = machine.wrapped(command, environment)
        self.process: subprocess.Popen[bytes] | None = None
        #: What asks it to end in good order.
        self.stop_signal: int = signal.SIGTERM

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def members(self) -> list[psutil.Process]:
        """Return its own processes, without the wrapper around them."""
        if self.process is None or self.ended:
            return []
        found = psutil.Process(self.process.pid).children(recursive=True)
        own = []
        for one in found:
            with suppress(psutil.NoSuchProcess):
                if one.name() != "bwrap":
                    own.append(one)
        return own

    def signal(self, number: int) -> None:
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)

    def ask_to_end(self) -> None:
        for server in self.members()[:1]:  # it ends its helpers
            server.send_signal(self.stop_signal)

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.kill()  # a helper that began meanwhile ends with its namespace
            self.process.wait()
        self.process = None

    def tail(self, lines: int = 20) -> str:
        """Return the end of what it wrote."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Machine:
    """One of the three: its address, its folder of data, and the programs on it."""

    def __init__(self, number: int, *, disk: bool) -> None:
        self.number = number
        self.address = address(number)
        self.data = PLACE / f"n{number}"
        self.data.mkdir()
        self.programs: list[Program] = []
        self._disk = PLACE / f"n{number}.img" if disk else None
        self._connect()
        if self._disk:
            run("truncate", "-s", "1G", str(self._disk))
            run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._disk))
            self._mount()

    def _connect(self) -> None:
        n, within = self.number, ("ip", "-n", f"n{self.number}")
        run("ip", "netns", "add", f"n{n}")
        run("ip", "link", "add", f"v{n}", "type", "veth", "peer", "name", "eth0", "netns", f"n{n}")
        run("ip", "addr", "add", f"10.77.{n}.1/24", "dev", f"v{n}")
        run("ip", "link", "set", f"v{n}", "up")
        run(*within, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run(*within, "link", "set", "lo", "up")
        run(*within, "link", "set", "eth0", "up")
        run(*within, "route", "add", "default", "via", f"10.77.{n}.1")

    # Programs.

    def wrapped(self, command: Iterable[str], environment: Mapping[str, str]) -> list[str]:
        """Return the command line that runs a program of the servers' folder on this machine."""
        return [
            # Not `ip netns exec`: its mount namespace would hold the disks of the other machines.
            *("nsenter", f"--net=/run/netns/n{self.number}"),
            *("bwrap", "--unshare-user", "--uid", debian.NOBODY, "--gid", debian.NOBODY),
            *("--unshare-pid", "--unshare-uts", "--hostname", f"n{self.number}"),
            "--die-with-parent",
            *("--ro-bind", str(SERVERS), "/", "--proc", "/proc", "--dev", "/dev"),
            *("--tmpfs", "/tmp", "--tmpfs", "/run", "--bind", str(self.data), str(self.data)),
            *("--ro-bind", str(PLACE / "hosts"), "/etc/hosts"),
            *("--setenv", "PATH", _PATH, "--setenv", "HOME", str(self.data)),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *command,
        ]

    def add(self, name: str, *command: str, **environment: str) -> Program:
        """Have a server on this machine, which `start` starts."""
        self.programs.append(Program(self, name, list(command), environment))
        return self.programs[-1]

    def run(self, *command: str, **environment: str) -> str:
        """Run a tool on this machine to its end; return what it prints."""
        return run(*self.wrapped(command, environment))

    def start(self) -> None:
        for program in self.programs:
            program.start()

    def kill(self) -> None:
        """End each of its programs by kill -9."""
        for program in self.programs:
            program.kill()

    def ask_to_end(self) -> None:
        """Ask each of its programs to end in good order, and don't wait."""
        for program in self.programs:
            program.ask_to_end()

    @property
    def ended(self) -> bool:
        return all(program.ended for program in self.programs)

    def lose(self) -> None:
        """End its programs by kill -9, and delete everything that they have."""
        self.kill()
        for found in self.data.iterdir():
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()

    def freeze(self) -> None:
        """Stop each of its programs in its tracks: connections stay, nothing answers."""
        for program in self.programs:
            program.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for program in self.programs:
            program.signal(signal.SIGCONT)

    # Power.

    def power_off(self) -> None:
        """Cut the power: what no sync has brought to the disk is gone, at once and for good."""
        assert self._disk, "this machine has no disk that could lose power"
        handle = os.open(self.data, os.O_RDONLY)
        # EXT4_IOC_SHUTDOWN without a flush of the journal: what xfstests' `godown` does.
        fcntl.ioctl(handle, 0x8004587D, struct.pack("I", 2))
        os.close(handle)
        self.kill()

    def power_on(self) -> None:
        """Mount the disk anew, which replays its journal, as after a real cut; start again."""
        deadline = time.monotonic() + 60
        while True:
            # A program that ends or begins holds it for a moment in a namespace of its own: it
            # can't be unmounted, or comes back as it was, dead.
            try:
                run("umount", str(self.data))
            except RuntimeError:
                pass
            else:
                self._mount()
                if self._powered():
                    break
            if time.monotonic() > deadline:
                raise TimeoutError(f"the disk of n{self.number} is held: its power stays off")
            time.sleep(0.05)
        self.start()

    def sync(self) -> None:
        """Have all that was written so far on the disk."""
        run("sync", "-f", str(self.data))

    def _powered(self) -> bool:
        """Tell whether its disk takes a sync, which one without power does not."""
        try:
            run("sync", str(self.data))
        except RuntimeError:
            return False
        return True

    def _mount(self) -> None:
        # The journal is not committed unasked: that would save what no server has synced.
        run("mount", "-o", "loop,commit=300", str(self._disk), str(self.data))


def machines(*, disks: bool = False) -> dict[int, Machine]:
    """Build the three, with disks that can lose power where that is asked for."""
    run("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    names = "".join(f"{address(n)} n{n}\n" for n in NUMBERS)
    (PLACE / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    return {number: Machine(number, disk=disks) for number in NUMBERS}


def cut_off(number: int, *, hears: bool = False) -> None:
    """Cut a machine off from the other two. Clients still reach all three.

    One that `hears` gets what the others send, and nothing that it sends arrives. The router drops
    without a word; on the machine itself, connecting would fail at once.
    """
    for other in NUMBERS:
        if other != number:
            _rule("add", number, other)
            if not hears:
                _rule("add", other, number)


def heal() -> None:
    """Let all machines reach each other again."""
    for one in NUMBERS:
        for other in NUMBERS:
            with suppress(RuntimeError):  # no such rule
                _rule("del", one, other)


def _rule(what: str, one: int, other: int) -> None:
    run("ip", "rule", what, "from", address(one), "to", address(other), "blackhole")
