# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Names: what six brokers make of one, and a scheme that all of them keep."""

import re

# It is domain.entity.event, and a version if readers of the old one fail.
SCHEME = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9]*){2,3}")


def scheme(name: str) -> str:
    """Tell what is wrong with a name by our own, narrower rule."""
    if not SCHEME.fullmatch(name):
        return "not domain.entity.event"
    return "too long" if len(name) > 63 else ""


def rabbitmq(name: str) -> str:
    # The server takes more; the client, pamqp, holds to this list.
    if not re.fullmatch(r"[a-zA-Z0-9_.:@#,/+ -]*", name):
        return "character"
    if name.startswith("amq."):
        return "reserved"
    return "" if 0 < len(name) <= 255 else "length"


def kafka(name: str) -> str:
    if not 0 < len(name) <= 249:
        return "length"
    if not re.fullmatch(r"[a-zA-Z0-9._-]+", name):
        return "character"
    return "reserved" if name in (".", "..") else ""


def nats(name: str) -> str:
    if "" in name.split("."):
        return "empty token"
    if re.search(r"\s", name):
        return "character"
    if {"*", ">"} & set(name.split(".")):
        return "wildcard"
    if name.startswith(("$SYS.", "$JS.API.")):
        return "reserved"
    # With the rest of its line, a subject has to fit into 4096 bytes.
    return "" if len(name.encode()) <= 4000 else "length"


def redis(_: str) -> str:
    return ""


def mqtt(name: str) -> str:
    if re.search(r"[+#]", name):
        return "wildcard"
    if re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        return "character"
    if name.startswith("$SYS"):
        return "reserved"
    return "" if 0 < len(name.encode()) <= 65_535 else "length"


def postgresql(name: str) -> str:
    if "\0" in name:
        return "character"
    return "" if 0 < len(name.encode()) <= 63 else "length"


BROKERS = (rabbitmq, kafka, nats, redis, mqtt, postgresql)


def main() -> None:
    for name in (
        "video.upload.finished",
        "video/upload/finished",
        "video..finished",
        "amq.video",
        "größe",
        "video.*",
        "v" * 64,
    ):
        print(name if len(name) < 64 else f"{name[:3]}... ({len(name)})")
        for rule in (scheme, *BROKERS):
            if wrong := rule(name):
                print(f"    {rule.__name__}: {wrong}")


if __name__ == "__main__":
    main()
