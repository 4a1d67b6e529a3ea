"""What a minibroker does while a program runs: its events, and what it holds after each.

The recorder makes a picture of the events, and the page of a reader's run the steps to go through.
Like runner/program.py, the browser gets this file as it is.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minibroker import Broker, Consumer, Delivery, Event

Note = Callable[["Broker", "Event"], None]
#: So many steps are told of one run, and so many messages of one place.
STEPS, SHOWN = 400, 12
LONGEST = 60
#: Who publishes: the consumer in whose `with` block it happens; empty outside of one.
_CONSUMER: ContextVar[str] = ContextVar("consumer", default="")
_WHY_DEAD = {
    "delivery-limit": "it was delivered as often as the queue allows",
    "expired": "its time to live is over",
    "rejected": "its consumer rejected it",
}


def observed(broker: type[Broker], note: Note) -> type[Broker]:
    """Return a broker that tells `note` each event, and of what is published, who did it."""

    class Observed(broker):  # type: ignore[misc,valid-type]
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.observers.append(self._note)

        def _note(self, event: Event) -> None:
            own = event.kind in {"published", "appended"}
            note(self, event._replace(client=_CONSUMER.get()) if own else event)

        @contextmanager
        def consume(
            self, queue: str, consumer: str = "consumer", prefetch: int = 1
        ) -> Iterator[Consumer]:
            outer = _CONSUMER.get()
            with super().consume(queue, consumer, prefetch) as member:
                _CONSUMER.set(consumer)
                try:
                    yield member
                finally:
                    _CONSUMER.set(outer)

    return Observed


class Flow:
    """Sends each event of the program in the file `name` as a step, in JSON.

    A step shows what the broker holds at which it happened. A program may make several, one after
    the other, to compare them: theirs are other queues, even where they have the same names.
    """

    def __init__(self, name: str, send: Callable[[str, str], object]) -> None:
        self.name, self.send = name, send
        self.told = 0
        self.acknowledged: Counter[tuple[Broker, str]] = Counter()
        self.read: dict[tuple[Broker, str, str], int] = {}

    def __call__(self, broker: Broker, event: Event) -> None:
        """Send the step of one event. The last of too many says so."""
        if event.kind == "acknowledged":
            self.acknowledged[broker, event.place] += 1
        elif event.kind == "read":
            self.read[broker, event.place, event.client] = event.message.id + 1
        self.told += 1
        if self.told <= STEPS:
            step = {
                "says": sentence(event),
                "kind": event.kind,
                "line": line(self.name),
                "message": event.message.id,
                "queues": self._queues(broker),
                "logs": self._logs(broker),
                "last": self.told == STEPS,
            }
            self.send("step", json.dumps(step, ensure_ascii=False))

    def _queues(self, broker: Broker) -> list[dict[str, Any]]:
        return [
            {
                "name": queue.name,
                "ready": list(map(_held, queue.ready[:SHOWN])),
                "more": max(0, len(queue.ready) - SHOWN),
                "consumers": [
                    {"name": each.name, "holds": list(map(_held, each.unacked[:SHOWN]))}
                    for each in sorted(queue.consumers, key=lambda one: one.name)
                ],
                "acknowledged": self.acknowledged[broker, queue.name],
            }
            # The one for dead letters is the first that a broker makes, and the last of the story.
            for queue in [*list(broker.queues.values())[1:], *list(broker.queues.values())[:1]]
        ]

    def _logs(self, broker: Broker) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "records": [[each.id, _short(each.body)] for each in records[-SHOWN:]],
                "groups": [
                    {"name": group, "read": at, "committed": broker.committed.get((log, group), 0)}
                    for (where, log, group), at in self.read.items()
                    if (where, log) == (broker, name)
                ],
            }
            for name, records in broker.logs.items()
        ]


def line(name: str) -> int:
    """Return the line of the file `name` that is at work, or 0 where none is."""
    frame = sys._getframe()
    while frame.f_code.co_filename != name:
        if frame.f_back is None:
            return 0
        frame = frame.f_back
    return frame.f_lineno


def sentence(event: Event) -> str:
    """Say what happened."""
    body, place, offset = _short(event.message.body), event.place, event.message.id
    who = event.client or "The program"
    match event.kind:
        case "published":
            return f"{who} publishes {body} with the routing key {place}."
        case "unroutable":
            return f"No queue is bound to {place}: {body} is lost."
        case "routed" if reason := event.message.headers.get("death_reason"):
            return f"{place} keeps {body} as a dead letter: {_WHY_DEAD.get(reason, reason)}."
        case "routed":
            return f"The queue {place} keeps {body}."
        case "delivered":
            return f"{place} delivers {body} to {who}."
        case "redelivered":
            return f"{place} delivers {body} again, to {who}: it is delivery {event.number}."
        case "acknowledged":
            return f"{who} acknowledges {body}: {place} forgets it."
        case "requeued" if event.reason:
            return f"{who} is gone: {body}, which it held, is in {place} again."
        case "requeued":
            return f"{who} gives {body} back: it has its old place in {place} again."
        case "expired":
            return f"{body} has expired in {place}: nobody took it in time."
        case "dead-lettered":
            why = _WHY_DEAD.get(event.reason, event.reason)
            return f"{body} leaves {place} as a dead letter: {why}."
        case "appended":
            return f"{who} appends {body} to the log {place}, at offset {offset}."
        case "read":
            return f"{who} reads offset {offset} of {place}: {body}."
        case "committed":
            return f"{who} commits {offset + 1} in {place}: it goes on from that offset."
    return f"{event.kind}: {body}, {place}."


def _held(delivery: Delivery) -> list[Any]:
    return [delivery.message.id, _short(delivery.message.body), delivery.number]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
