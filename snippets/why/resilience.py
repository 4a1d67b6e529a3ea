# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Resilience: an outage of one component stays with that component."""

import asyncio

from minibroker import Broker

VIDEOS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4", "bee.mp4", "elk.mp4"]
OUTAGE = {"dog.mp4", "owl.mp4", "fox.mp4"}  # the notifier is down for these
QUEUE = "notify"


class CrashError(Exception):
    """The notifier dies."""


class Notifier:
    def __init__(self, idempotent: bool = False) -> None:
        self.idempotent = idempotent
        self.mails: list[str] = []  # it outlives a crash: mail is sent mail

    def notify(self, video: str) -> None:
        if not (self.idempotent and video in self.mails):
            self.mails.append(video)

    def work_off(self, broker: Broker, dies_after: str = "") -> None:
        with broker.consume(QUEUE, "notifier") as events:
            while events.unacked:
                event = events.unacked[0]
                self.notify(event.message.body)
                if event.message.body == dies_after:
                    raise CrashError  # The broker does not hear of it.
                event.ack()

    def report(self) -> str:
        return f"{len(self.mails)} mails for {len(set(self.mails))} videos"


def upload_by_call(notifier: Notifier, video: str) -> None:
    if video in OUTAGE:
        raise ConnectionRefusedError
    notifier.notify(video)


def outage() -> None:
    notifier, failed = Notifier(), list[str]()
    for video in VIDEOS:
        try:
            upload_by_call(notifier, video)
        except ConnectionRefusedError:
            failed.append(video)
    print(f"called: {len(failed)} uploads fail, {notifier.report()}")

    broker, notifier, waiting = Broker(), Notifier(), list[int]()
    broker.declare(QUEUE)
    for video in VIDEOS:
        broker.publish(QUEUE, video)
        if video not in OUTAGE:
            notifier.work_off(broker)
        waiting.append(len(broker.find(QUEUE).ready))
    print(f"queued: no upload fails, {notifier.report()}")
    print("  waiting after each upload:", *waiting)


def crash(idempotent: bool) -> None:
    broker, notifier = Broker(), Notifier(idempotent)
    broker.declare(QUEUE)
    for video in VIDEOS:
        broker.publish(QUEUE, video)
    try:
        notifier.work_off(broker, dies_after="owl.mp4")
    except CrashError:
        kind = "an idempotent" if idempotent else "a"
        print(f"{kind} notifier dies after its mail for owl.mp4")
    notifier.work_off(broker)
    print(f"  restarted: {notifier.report()}")


async def main() -> None:
    outage()
    crash(idempotent=False)
    crash(idempotent=True)


if __name__ == "__main__":
    asyncio.run(main())
