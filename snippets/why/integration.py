# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Integration: each system keeps its own format, and a translator meets it."""

import asyncio
import json
from collections.abc import Callable
from xml.etree import ElementTree

from minibroker import DEAD_LETTERS, Broker

BROKER = Broker()
EVENT = "video.added"  # in one format: {"name": ..., "seconds": ...}
NEEDS = {"catalogue": "name", "billing": "seconds"}  # the field each reads


def from_web(text: str) -> dict[str, object]:
    said = json.loads(text)
    return {"name": said["file"], "seconds": said["length"]}


def from_studio(text: str) -> dict[str, object]:
    name, minutes, seconds = text.split(";")
    return {"name": name, "seconds": int(minutes) * 60 + int(seconds)}


def from_archive(text: str) -> dict[str, object]:
    film = ElementTree.fromstring(text)
    return {"name": film.attrib["id"], "seconds": int(film.attrib["s"])}


def publish(video: dict[str, object]) -> None:
    queues = BROKER.publish(EVENT, json.dumps(video))
    print(f"  {json.dumps(video)} for", *queues)


def receive(system: str) -> None:
    known: list[str] = []
    with BROKER.consume(system, system) as events:
        while events.unacked:
            event = events.unacked[0]
            video = json.loads(event.message.body)
            try:
                known.append(str(video[NEEDS[system]]))
            except KeyError as missing:
                print(f"{system}: no {missing} in", event.message.body)
                event.nack(requeue=False)
            else:
                event.ack()
    print(f"{system}: {' '.join(known) or 'nothing new'}")


async def main() -> None:
    for system in NEEDS:
        BROKER.declare(system)
        BROKER.bind(system, EVENT)
    said: list[tuple[str, Callable[[str], dict[str, object]]]] = [
        ('{"file": "cat.mp4", "length": 42}', from_web),
        ("dog.mp4;1;30", from_studio),
        ('<film id="owl.mp4" s="7"/>', from_archive),
    ]
    for text, translate in said:
        print(f"{translate.__name__}: {text}")
        publish(translate(text))
    for system in NEEDS:
        receive(system)

    print("one day a publisher renames a field")
    publish({"name": "fox.mp4", "duration": 12})
    for system in NEEDS:
        receive(system)
    print(f"{DEAD_LETTERS}: {len(BROKER.find(DEAD_LETTERS).ready)}")


if __name__ == "__main__":
    asyncio.run(main())
