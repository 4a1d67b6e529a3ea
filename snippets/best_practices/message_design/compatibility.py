# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Compatibility: old readers meet new messages, and new readers old ones."""

import json
from collections.abc import Callable
from typing import Any

Data = dict[str, Any]

V1: Data = {"video": "cat.mp4", "seconds": 90, "status": "ready"}

CHANGES: dict[str, Data] = {
    "add an optional field": V1 | {"language": "en"},
    "remove a field": {"video": "cat.mp4", "status": "ready"},
    "rename a field": {"name": "cat.mp4", "seconds": 90, "status": "ready"},
    "change a type": V1 | {"seconds": "90"},
    "change a meaning": V1 | {"seconds": 90_000},  # milliseconds by now
    "add a value": V1 | {"status": "blocked"},
}


def strict(message: Data) -> str:
    """An old reader that knows all there is, and takes nothing else."""
    if message.keys() != V1.keys():
        raise ValueError(
            f"not as agreed: {sorted(message.keys() ^ V1.keys())}"
        )
    return tolerant(message)


def tolerant(message: Data) -> str:
    """An old reader that takes what it needs and ignores the rest."""
    name, seconds = message["video"], message["seconds"]
    if not isinstance(seconds, int):
        raise TypeError("seconds is no number")
    # A status that it does not know is no reason to fail: it shows nothing.
    status = {"ready": "watch it", "failed": "sorry"}.get(message["status"])
    return f"{name}, {seconds / 60:.1f} min: {status or 'wait'}"


def upcast(message: Data) -> Data:
    """Turn whatever version comes into the newest one, at one place."""
    if message.get("version", 1) < 2:
        message = {"language": "unknown"} | message | {"version": 2}
    return message


def new(message: Data) -> str:
    """A new reader, which needs the language."""
    message = upcast(message)
    return f"{message['video']} in {message['language']}"


def read(reader: Callable[[Data], str], message: Data) -> str:
    try:
        # As bytes, because that is what is between two programs.
        return reader(json.loads(json.dumps(message)))
    except (KeyError, TypeError, ValueError) as error:
        return f"FAILS, {type(error).__name__}: {error}"


def main() -> None:
    for change, message in CHANGES.items():
        print(f"{change}:")
        print(f"    strict: {read(strict, message)}")
        print(f"    tolerant: {read(tolerant, message)}")
    print("a new reader meets")
    print(f"    an old message: {read(new, V1)}")
    changed = V1 | {"language": "en", "version": 2}
    print(f"    a new message: {read(new, changed)}")


if __name__ == "__main__":
    main()
