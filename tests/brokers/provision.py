"""Fill the project's own folder of servers: `python -m tests.brokers.provision`.

Debian's packages come through this machine's own apt, Kafka through its own Maven: the
addresses of both are theirs, and none is written here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.brokers import debian

POM = Path(__file__).with_name("kafka.xml")
#: What set-up needs itself, and the packages with it; the folder's servers need `bwrap` to run.
TOOLS = {"mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap", "mvn": "maven"}


def recipe() -> str:
    """Return a digest of all that decides what the folder holds."""
    text = "\n".join((debian.SUITE, *debian.PACKAGES, POM.read_text()))
    return hashlib.sha256(text.encode()).hexdigest()


def run(*command: str) -> str:
    """Run a command and return what it said; when it fails, stop with the end of that."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-3000:]}")
    return done.stdout


def as_root(*command: str) -> tuple[str, ...]:
    """Return the command with the rights that installing needs."""
    if os.geteuid() == 0:
        return command
    if shutil.which("sudo"):
        return ("sudo", *command)
    return sys.exit(f"needs root or sudo: {' '.join(command)}")


def install(tools: Iterable[str]) -> None:
    """Install those of the programs that are missing, where Debian's apt is there."""
    missing = [TOOLS[tool] for tool in tools if not shutil.which(tool)]
    if not missing:
        return
    by_hand = f"install {', '.join(missing)} (Debian's names), or set the brokers' addresses"
    if not shutil.which("apt-get"):
        sys.exit(f"The servers need programs that this machine lacks: {by_hand}.")
    print(f"installing {', '.join(missing)}")
    run(*as_root("apt-get", "update"))
    run(*as_root("apt-get", "install", "-y", "--no-install-recommends", *missing))


def mirror() -> str:
    """Return the address of the Debian mirror that this machine's apt already uses."""
    sites = run(
        "apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(SUITE)", "Created-By: Packages"
    )
    for line in sites.splitlines():
        site, origin, suite = (*line.split(" "), "", "")[:3]
        if origin == "Debian" and "security" not in suite + site:
            return site
    return sys.exit(
        "apt on this machine names no Debian mirror, so the servers can't be fetched: "
        "use Debian, or a container of it, or set the brokers' addresses."
    )


def build(root: Path) -> None:
    """Make the Debian folder at `root`, with Kafka's jars inside."""
    include = ",".join(debian.PACKAGES)
    run(
        *as_root("mmdebstrap", "--mode=root", "--variant=apt", f"--include={include}"),
        '--aptopt=Apt::Install-Recommends "false"',
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        debian.SUITE,
        str(root),
        f"deb {mirror()} {debian.SUITE} main",
    )
    jars = root / "opt" / "kafka"
    staging = root.with_name(root.name + "-kafka")
    run(
        *("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
        *("-DincludeScope=runtime", f"-DoutputDirectory={staging}"),
    )
    run(*as_root("mkdir", "-p", str(jars)))
    run(*as_root("cp", "-r", f"{staging}/.", str(jars)))
    shutil.rmtree(staging)


def main() -> None:
    """Build the folder unless it is there as the recipe says."""
    root = debian.folder()
    root.parent.mkdir(parents=True, exist_ok=True)
    stamp = root.with_name(root.name + ".recipe")
    with root.with_name(root.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = stamp.exists() and stamp.read_text() == recipe() and root.exists()
        install(["bwrap"] if built else TOOLS)
        if built:
            return
        print(f"building the folder of servers in {root}: one to three minutes, once")
        unfinished = root.with_name(root.name + ".unfinished")
        stamp.unlink(missing_ok=True)
        for leftover in (unfinished, root):
            if leftover.exists():
                run(*as_root("rm", "-rf", "--one-file-system", str(leftover)))
        build(unfinished)
        run(*as_root("mv", str(unfinished), str(root)))
        stamp.write_text(recipe())


if __name__ == "__main__":
    try:
        main()
    except SystemExit as error:
        if error.code and os.environ.get("BROKERS") != "required":
            print(f"{error.code}\nGoing on without: what can't be found is skipped, and said so.")
        else:
            raise
