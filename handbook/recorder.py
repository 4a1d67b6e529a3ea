"""Record what the minibroker does while a snippet runs, as a Mermaid sequence diagram.

    python -m handbook.recorder SNIPPET OUT.mmd

The snippet runs as its reader would run it, and prints what it always prints. Each arrow is an
event, in the order in which it happened. What the snippet prints is a note across the picture,
unless the line names a message: then the arrows have already said it.
"""

from __future__ import annotations

import argparse
import io
import re
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from unittest.mock import patch

from handbook.flow import observed

if TYPE_CHECKING:
    from minibroker import Event, Message

SNIPPETS = Path(__file__).parents[1] / "snippets"
Column = tuple[str, str]  # what it is ("producer", "lane", "consumer"), and its name
EXCHANGE = ("lane", "exchange")


class RecorderError(Exception):
    """The snippet can't be recorded. The message says why."""


class _Tee(io.TextIOBase):
    """Standard output that also hands over each finished line."""

    def __init__(self, out: TextIO, take: Callable[[str], None]) -> None:
        self._out, self._take, self._rest = out, take, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)
        return self._out.write(text)

    def flush(self) -> None:
        self._out.flush()


def record(snippet: Path) -> str:
    """Run a snippet; return the sequence diagram of what its minibroker did."""
    if str(SNIPPETS) not in sys.path:
        sys.path.insert(0, str(SNIPPETS))
    import minibroker

    happened: list[Event | str] = []

    def note(_: minibroker.Broker, event: Event) -> None:
        happened.append(event)

    with (
        patch.object(minibroker, "Broker", observed(minibroker.Broker, note)),
        redirect_stdout(_Tee(sys.stdout, happened.append)),
    ):
        left = runpy.run_path(str(snippet), run_name="__main__")
    if all(isinstance(one, str) for one in happened):
        raise RecorderError(f"{snippet}: nothing happened on a broker; does it use minibroker's?")
    title = (left["__doc__"] or snippet.stem).splitlines()[0]
    return sequence_diagram(happened, title)


def sequence_diagram(happened: Sequence[Event | str], title: str) -> str:
    """Draw events, and the lines printed between them, as a Mermaid sequence diagram."""
    picture = _Picture([one for one in happened if not isinstance(one, str)])
    for one in happened:
        if isinstance(one, str):
            picture.printed(one)
        else:
            picture.event(one)
    return picture.source(title)


class _Picture:
    """A picture in the making. Its columns are producers, then lanes with their consumers.

    Where each bound queue is fed by one routing key, that key is the lane of them all: a channel
    with its subscribers' queues. Otherwise each queue has a lane of its own, and what is published
    to bound queues passes through the exchange. Each log has a lane of its own.
    A producer whose messages go to queues that others bound is called a publisher; a consumer that
    publishes is drawn as the consumer that it is.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self._bodies = {event.message.body for event in events}
        self._kinds = Counter(event.kind for event in events if event.kind != "routed")
        self._queues: dict[int, list[str]] = {}  # message -> the queues it was published to
        self._fed_by: dict[str, set[str]] = {}  # queue -> routing keys; itself for dead letters
        self._sent = {e.message.id: e.message for e in events if e.kind == "published"}
        for event in events:
            if event.kind == "routed" and self._is_dead(event.message):
                self._fed_by.setdefault(event.place, set()).add(event.place)
            elif event.kind == "routed":
                self._fed_by.setdefault(event.place, set()).add(event.message.routing_key)
                self._queues.setdefault(event.message.id, []).append(event.place)
        self._by_exchange = False
        self._by_exchange = any(
            self._is_bound(self._sent[number])
            and self._targets(self._sent[number]) != [("lane", self._sent[number].routing_key)]
            for number in self._queues
        )
        self._columns: list[Column] = []
        self._held: Counter[str] = Counter()  # consumer -> messages it has not acknowledged
        self._copied_to: list[str] = []
        self._steps: list[tuple[Column | None, str, Column | None, str]] = []

    def event(self, event: Event) -> None:
        """Draw one event."""
        match event.kind:
            case "published":
                self._published(event.message, event.client)
            case "unroutable":
                self._note(f"{event.message.body} is lost: no queue is bound to it")
            case "routed":
                self._routed(event.message, event.place)
            case "appended" | "read" | "committed":
                self._logged(event, self._lane(event.place))
            case _:
                self._handled(event, self._lane(event.place))

    def printed(self, line: str) -> None:
        """Note a line that was printed, unless it names a message: the arrows show those."""
        if line.strip() and not any(body in line for body in self._bodies):
            self._note(line.strip())

    def source(self, title: str) -> str:
        """Return the picture as Mermaid source."""
        ids = {column: f"p{number}" for number, column in enumerate(self._columns)}
        across = f"p0,p{len(ids) - 1}" if len(ids) > 1 else "p0"
        counts = ", ".join(f"{number} {kind}" for kind, number in self._kinds.items())
        lines = [
            "sequenceDiagram",
            f"accTitle: {title}",
            f"accDescr: Recorded from a run on the minibroker: {counts}.",
            *(f"participant {ids[column]} as {_plain(column[1])}" for column in ids),
        ]
        for start, arrow, end, text in self._steps:
            if start and end:
                lines.append(f"{ids[start]}{arrow}{ids[end]}: {_plain(text)}")
            else:
                lines.append(f"Note over {ids[start] if start else across}: {_plain(text)}")
        return "\n    ".join(lines) + "\n"

    def _published(self, message: Message, client: str) -> None:
        queues, lanes = self._queues.get(message.id, []), self._targets(message)
        bound = self._is_bound(message)
        producer = self._producer(message, client or ("publisher" if bound else "producer"))
        if bound and self._by_exchange:
            text = f"{message.routing_key}: {message.body}"
            self._arrow(producer, "->>", self._column(EXCHANGE), text)
        elif lanes:
            self._arrow(producer, "->>", self._column(lanes[0]), message.body)
            self._copied(queues, lanes[0])
        else:
            self._arrow(producer, "-x", self._column(EXCHANGE), message.body)

    def _copied(self, queues: list[str], lane: Column) -> None:
        if len(queues) > 1 and queues != self._copied_to:
            names = " and ".join(queue.removeprefix(f"{lane[1]}.") for queue in queues)
            self._note(f"a copy each for {names}", lane)
            self._copied_to = queues

    def _is_bound(self, message: Message) -> bool:
        """Tell whether it goes to queues by their bindings, and not by their own name."""
        return any(queue != message.routing_key for queue in self._queues.get(message.id, []))

    def _is_dead(self, message: Message) -> bool:
        """Tell whether the broker moved it: it writes a new message then, with the old number."""
        return message is not self._sent[message.id]

    def _routed(self, message: Message, queue: str) -> None:
        if self._is_dead(message):
            old, reason = message.headers["death_queue"], message.headers["death_reason"]
            self._arrow(self._lane(old), "->>", self._lane(queue), f"{message.body} ({reason})")
        elif self._by_exchange and self._is_bound(message):
            self._arrow(EXCHANGE, "->>", self._lane(queue), message.body)

    def _handled(self, event: Event, lane: Column) -> None:
        client, body = event.client, event.message.body
        match event.kind:
            case "delivered" | "redelivered":
                self._held[client] += 1
                again = f" (delivery {event.number})" if event.number > 1 else ""
                self._arrow(lane, "->>", self._consumer(client, lane), body + again)
            case "acknowledged":
                which = f" {body}" if self._held[client] > 1 else ""
                self._held[client] -= 1
                self._arrow(self._consumer(client, lane), "-->>", lane, f"ack{which}")
            case "requeued" if event.reason:
                self._held[client] -= 1
                self._note(f"{client} is gone: {body} is back", lane)
            case "requeued":
                self._held[client] -= 1
                self._arrow(self._consumer(client, lane), "-->>", lane, f"nack {body}")
            case "dead-lettered":
                self._held[client] -= 1

    def _logged(self, event: Event, lane: Column) -> None:
        text = f"{event.message.id}: {event.message.body}"
        match event.kind:
            case "appended":
                producer = self._producer(event.message, event.client or "producer")
                self._arrow(producer, "->>", lane, text)
            case "read":
                self._arrow(lane, "->>", self._consumer(event.client, lane), text)
            case "committed":
                text = f"commit {event.message.id + 1}"
                self._arrow(self._consumer(event.client, lane), "-->>", lane, text)

    def _targets(self, message: Message) -> list[Column]:
        """Return the lanes that a published message goes to."""
        queues = self._queues.get(message.id, [])
        return list(dict.fromkeys(self._lane_of(queue) for queue in queues))

    def _lane_of(self, place: str) -> Column:
        sources = self._fed_by.get(place, {place})
        merged = len(sources) == 1 and not self._by_exchange
        return "lane", next(iter(sources)) if merged else place

    def _lane(self, place: str) -> Column:
        return self._column(self._lane_of(place))

    def _producer(self, message: Message, unnamed: str) -> Column:
        name = message.headers.get("publisher", unnamed)
        if ("consumer", name) in self._columns:
            return "consumer", name
        column = "producer", name
        if column not in self._columns:
            producers = [kind for kind, _ in self._columns].count("producer")
            self._columns.insert(producers, column)
        return column

    def _consumer(self, name: str, lane: Column) -> Column:
        if ("producer", name) in self._columns:
            return "producer", name
        column = "consumer", name
        if column not in self._columns:  # beside its lane, behind the consumers that are there
            place = self._columns.index(lane) + 1
            while self._columns[place : place + 1] and self._columns[place][0] == "consumer":
                place += 1
            self._columns.insert(place, column)
        return column

    def _column(self, column: Column) -> Column:
        if column not in self._columns:
            self._columns.append(column)
        return column

    def _arrow(self, start: Column, arrow: str, end: Column, text: str) -> None:
        self._steps.append((start, arrow, end, text))

    def _note(self, text: str, over: Column | None = None) -> None:
        self._steps.append((over, "", None, text))


def _plain(text: str) -> str:
    """Return the text without what Mermaid would take for its own."""
    return re.sub("[#;]", lambda found: f"#{ord(found[0])};", text)


def main() -> None:
    """Record one snippet into one file."""
    parser = argparse.ArgumentParser(description="Record a minibroker snippet as a diagram.")
    parser.add_argument("snippet", type=Path)
    parser.add_argument("out", type=Path)
    wanted = parser.parse_args()
    try:
        wanted.out.write_text(record(wanted.snippet))
    except (RecorderError, OSError) as error:
        sys.exit(f"recorder: {error}")


if __name__ == "__main__":
    main()
