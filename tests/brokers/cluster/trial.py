"""Inside: show that the machines' disks and links do what they are for. It prints JSON.

`python -m tests.brokers.cluster.trial disk`, `links`, or `rest`; tests run it.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial

from tests.brokers.cluster.inside import enter
from tests.brokers.cluster.machines import NUMBERS, address, cut_off, heal, machines
from tests.brokers.cluster.nats import NatsCluster

CLONE_NEWNET = 0x40000000
PORT = 7000
#: From one machine to another.
WAYS = ((1, 2), (2, 1), (2, 3))


def disk() -> dict[str, object]:
    """Write with and without a sync, cut the power, and look what is there afterwards."""
    machine = machines(disks=True)[1]
    synced, unsynced = machine.data / "synced", machine.data / "unsynced"
    with synced.open("wb") as file:
        file.write(b"a" * 4096)
        file.flush()
        os.fsync(file.fileno())
        folder = os.open(machine.data, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        file.write(b"b" * 4096)
    unsynced.write_bytes(b"c" * 4096)
    machine.power_off()
    after = "none"
    try:
        (machine.data / "later").write_bytes(b"d")
    except OSError as error:
        after = errno.errorcode[error.errno or 0]
    # As a server's wrapper does for a moment, somebody still holds what was mounted.
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", "echo; exec sleep 0.3"], stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout
        holder.stdout.readline()
        machine.power_on()
    (machine.data / "anew").write_bytes(b"e")
    return {
        "synced": synced.stat().st_size,
        "not synced": unsynced.exists(),
        "write after the cut": after,
    }


def links() -> dict[str, dict[str, bool]]:
    """Send packets from machine to machine, with links as they are, cut, and healed."""
    machines()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sockets = {number: _on(number) for number in NUMBERS}

    def arrives() -> dict[str, bool]:
        for one, other in WAYS:
            sockets[one].sendto(b"%d" % one, (address(other), PORT))
        heard: dict[int, set[bytes]] = {}
        for number in NUMBERS:
            # What was sent before arrives before, or never.
            client.sendto(b"end", (address(number), PORT))
            heard[number] = set(iter(partial(sockets[number].recv, 99), b"end"))
        return {f"{one} to {other}": b"%d" % one in heard[other] for one, other in WAYS}

    found = {"whole": arrives()}
    cut_off(1)
    found["cut off"] = arrives()
    heal()
    cut_off(1, hears=True)
    found["unheard"] = arrives()
    heal()
    found["healed"] = arrives()
    return found


def rest() -> None:
    """Have servers on machines with disks, and do nothing, for ever."""
    asyncio.run(NatsCluster(machines(disks=True)).start())
    signal.pause()


def _on(number: int) -> socket.socket:
    """Return a socket on a machine. A socket stays in the network in which it was made."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/n{number}", os.O_RDONLY)
    assert libc.setns(there, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert libc.setns(home, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    os.close(home)
    os.close(there)
    made.bind((address(number), PORT))
    made.settimeout(60)
    return made


if __name__ == "__main__":
    enter()
    print(json.dumps({"disk": disk, "links": links, "rest": rest}[sys.argv[1]]()))
