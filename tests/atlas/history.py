"""What a producer did and when, what became of it, and what was there in the end."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: What a producer knows when a call has ended. After a call without an answer it knows nothing.
CONFIRMED, REFUSED, UNKNOWN = "confirmed", "refused", "unknown"


@dataclass
class Call:
    """One message, published once. Times are seconds from the beginning of the load."""

    message: int
    began: float
    outcome: str = UNKNOWN
    ended: float = 0.0
    why: str = ""


@dataclass
class Event:
    """Something that was done to the cluster."""

    at: float
    what: str


@dataclass
class History:
    """`read` are the messages that a consumer got afterwards, in its order."""

    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    ended: float = 0.0

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what a file has, a line each: calls with places in the reading, then events."""
        places: dict[int, list[int]] = {}
        for place, message in enumerate(self.read):
            places.setdefault(message, []).append(place)
        for call in self.calls:
            line: dict[str, Any] = {
                "message": call.message,
                "began": round(call.began, 3),
                "ended": round(call.ended, 3),
                "outcome": call.outcome,
                "read": places.pop(call.message, []),
            }
            yield line | ({"why": call.why} if call.why else {})
        # Nobody has published these.
        for message, found in places.items():
            yield {"message": message, "outcome": "never published", "read": found}
        for event in self.events:
            yield {"event": event.what, "at": round(event.at, 3)}
        yield {"event": "the load ends", "at": round(self.ended, 3)}

    def packed(self) -> bytes:
        """Return the history as compressed lines of JSON, the same each time."""
        text = "".join(
            json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"
            for line in self.lines()
        )
        return gzip.compress(text.encode(), mtime=0)

    @classmethod
    def unpacked(cls, packed: bytes) -> History:
        """Return the history that `packed` has returned."""
        history = cls()
        places: dict[int, int] = {}
        for text in gzip.decompress(packed).decode().splitlines():
            line = json.loads(text)
            if "event" in line:
                history.events.append(Event(line["at"], line["event"]))
                continue
            places |= dict.fromkeys(line["read"], line["message"])
            if "began" in line:
                history.calls.append(
                    Call(
                        line["message"],
                        line["began"],
                        line["outcome"],
                        line["ended"],
                        line.get("why", ""),
                    )
                )
        history.ended = history.events.pop().at
        history.read = [places[place] for place in sorted(places)]
        return history
