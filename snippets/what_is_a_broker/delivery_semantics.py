# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Once, or not at all, or twice: it depends on where the consumer crashes."""

import asyncio
import sqlite3

from minibroker import Broker, Delivery

PLANS = [  # what a consumer does with a message, in this order
    "ack, CRASH, send",
    "ack, send, CRASH",
    "CRASH, send, ack",
    "send, CRASH, ack",
    "save, CRASH, ack",
    "send if new, CRASH, save, ack",
]


class Consumer:
    """It crashes at most once; what it sent or saved stays sent and saved."""

    def __init__(self) -> None:
        self.crashed = False
        self.sent = 0
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.execute("CREATE TABLE saved (id INTEGER PRIMARY KEY)")

    def saved(self) -> int:
        [(rows,)] = self.database.execute("SELECT count(*) FROM saved")
        return int(rows)

    def do(self, step: str, delivery: Delivery) -> None:
        match step:
            case "ack":
                delivery.ack()
            case "send":  # an e-mail: it cannot be taken back
                self.sent += 1
            case "send if new":
                self.sent += not self.saved()
            case "save":  # the key makes the second time change nothing
                row = (delivery.message.id,)
                self.database.execute(
                    "INSERT OR IGNORE INTO saved VALUES (?)", row
                )
            case "CRASH" if not self.crashed:
                self.crashed = True
                raise ConnectionError


async def follow(plan: str, consumer: Consumer) -> None:
    broker = Broker()
    broker.declare("notify")
    broker.publish("notify", "cat.mp4 is ready")
    while broker.queues["notify"].ready:  # a crash puts it back in there
        try:
            with broker.consume("notify") as deliveries:
                delivery = await anext(aiter(deliveries))
                for step in plan.split(", "):
                    consumer.do(step, delivery)
        except ConnectionError:
            continue


async def main() -> None:
    for plan in PLANS:
        await follow(plan, consumer := Consumer())
        print(f"{plan}: sent {consumer.sent}, saved {consumer.saved()}")


if __name__ == "__main__":
    asyncio.run(main())
