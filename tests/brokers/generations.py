"""The two generations of servers: the newest that can be had, and Debian stable's.

GENERATION says which one runs, `newest` or `stable`. Where it says nothing, or `both`, set-up
fetches both, the newest run, and `make test` goes on with the stable ones.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

#: What both have. A change here, or below, makes set-up build the folder anew.
PACKAGES = (
    "amqp-tools",
    "chromium",
    "kcat",
    "mosquitto",
    "mosquitto-clients",
    "rabbitmq-server",
    "redis-server",
    "redis-tools",
)


@dataclass(frozen=True)
class Generation:
    """One Debian in a folder, and what comes into it from elsewhere.

    Debian testing moves, so its versions are those that came: set-up lists them beside the folder.
    """

    name: str
    suite: str
    postgresql: str
    kafka: str
    own_packages: tuple[str, ...]
    #: A release of the Go module `github.com/nats-io/nats-server/v2`, in the place of Debian's.
    nats: str = ""
    #: Testing's list of packages says itself until when it is valid; a mirror's may be older.
    moves: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """Return Debian's packages, in the order of their names."""
        return tuple(sorted((*PACKAGES, f"postgresql-{self.postgresql}", *self.own_packages)))


STABLE = Generation(
    "stable",
    suite="trixie",
    postgresql="17",
    kafka="4.3.0",
    # The tests of the site take Firefox from here, whichever servers run.
    own_packages=("firefox-esr", "nats-server", "openjdk-21-jre-headless"),
)
NEWEST = Generation(
    "newest",
    suite="testing",
    postgresql="18",
    kafka="4.4.0",
    own_packages=("openjdk-25-jre-headless", "valkey-server"),
    nats="v2.15.3",
    moves=True,
)
_BY_WORD = {"newest": (NEWEST,), "stable": (STABLE,), "both": (NEWEST, STABLE)}


def wanted() -> tuple[Generation, ...]:
    """Return the generations that GENERATION names; the first that is there is what runs."""
    word = os.environ.get("GENERATION") or "both"
    if word not in _BY_WORD:
        sys.exit(f"GENERATION is {word!r}: set it to {', '.join(_BY_WORD)}, or unset it")
    return _BY_WORD[word]
