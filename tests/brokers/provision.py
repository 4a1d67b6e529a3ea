"""Fill the project's own folders of servers: `python -m tests.brokers.provision`.

Debian's packages come through this machine's own apt, Kafka through its own Maven, the newest NATS
through its own Go: their addresses are the machine's, and none is written here.
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
from string import Template
from tempfile import TemporaryDirectory

from tests.brokers import debian
from tests.brokers.generations import Generation, wanted

POM = Path(__file__).with_name("kafka.xml")
#: What set-up needs itself, and the packages with it; the folder's servers need `bwrap` to run.
TOOLS = {"mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap", "mvn": "maven"}
#: NATS, where it does not come from Debian.
GO = {"go": "golang-go"}
NATS = "github.com/nats-io/nats-server/v2"


def pom(of: Generation) -> str:
    """Return what Maven is to fetch."""
    return Template(POM.read_text()).substitute(kafka=of.kafka)


def recipe(of: Generation) -> str:
    """Return a digest of all that decides what the folder holds."""
    parts = [of.suite, *of.packages, pom(of), *([of.nats] if of.nats else [])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run(*command: str, **environment: str) -> str:
    """Run a command and return what it said; when it fails, stop with the end of that."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
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
    missing = [(TOOLS | GO)[tool] for tool in tools if not shutil.which(tool)]
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


def build(root: Path, of: Generation) -> None:
    """Make the Debian folder at `root`, with Kafka's jars inside."""
    moving = ['--aptopt=Acquire::Check-Valid-Until "false"'] if of.moves else []
    run(
        *as_root("mmdebstrap", "--mode=root", "--variant=apt"),
        f"--include={','.join(of.packages)}",
        '--aptopt=Apt::Install-Recommends "false"',
        *moving,
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        of.suite,
        str(root),
        f"deb {mirror()} {of.suite} main",
    )
    with TemporaryDirectory(dir=root.parent) as staging:
        file, jars, programs = (Path(staging) / name for name in ("pom.xml", "jars", "programs"))
        file.write_text(pom(of))
        run(
            *("mvn", "-q", "-B", "-f", str(file), "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={jars}"),
        )
        run(*as_root("cp", "-r", str(jars), str(root / "opt" / "kafka")))
        if of.nats:
            # Without C libraries, as those of this machine need not be the folder's; with a newer
            # Go than this machine's, if it asks for one.
            go = {"GOBIN": str(programs), "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto"}
            run("go", "install", f"{NATS}@{of.nats}", **go)
            run(*as_root("cp", str(programs / "nats-server"), str(root / "usr" / "local" / "bin")))


def versions(root: Path, of: Generation) -> str:
    """Return which versions came, one a line."""
    show = "--showformat=${Package} ${Version}\n"
    debians = run("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", show, *of.packages)
    nats = f"nats-server {of.nats}\n" if of.nats else ""
    return f"{debians}{nats}kafka {of.kafka}\n"


def remove(folder: Path) -> None:
    """Remove a folder, if it is there, and nothing that is mounted in it."""
    if folder.exists():
        run(*as_root("rm", "-rf", "--one-file-system", str(folder)))


def provide(of: Generation) -> None:
    """Build the folder of a generation unless it is there as the recipe says."""
    root = debian.folder(of)
    root.parent.mkdir(parents=True, exist_ok=True)
    stamp = root.with_name(root.name + ".recipe")
    with root.with_name(root.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = stamp.exists() and stamp.read_text() == recipe(of) and root.exists()
        install(["bwrap"] if built else [*TOOLS, *(GO if of.nats else ())])
        if built:
            return
        print(f"building the folder of servers in {root}: one to three minutes, once", flush=True)
        unfinished = root.with_name(root.name + ".unfinished")
        remove(unfinished)
        build(unfinished, of)
        came = versions(unfinished, of)
        # The old one is there until the new one is: a build may be interrupted.
        stamp.unlink(missing_ok=True)
        remove(root)
        root.with_name(root.name + ".versions").write_text(came)
        run(*as_root("mv", str(unfinished), str(root)))
        stamp.write_text(recipe(of))
        print(came, end="", flush=True)


def main() -> None:
    """Provide the generations that are wanted; where one can't be had, the other is there."""
    failed = []
    for generation in wanted():
        try:
            provide(generation)
        except SystemExit as error:
            failed.append(f"NO {generation.name.upper()} SERVERS: {error.code}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    try:
        main()
    except SystemExit as error:
        if error.code and os.environ.get("BROKERS") != "required":
            print(f"{error.code}\nGoing on without: what can't be found is skipped, and said so.")
        else:
            raise
