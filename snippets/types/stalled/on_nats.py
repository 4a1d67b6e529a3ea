# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""A JetStream consumer that stops: too much is unacknowledged."""

from nats.js import JetStreamContext

from nats_client import connect, run


async def show(jetstream: JetStreamContext, what: str) -> None:
    info = await jetstream.consumer_info("transcode", "workers")
    print(f"{what}: num_ack_pending {info.num_ack_pending}", end=", ")
    print(f"num_pending {info.num_pending}")


async def main() -> None:
    async with connect() as jetstream:
        await jetstream.add_stream(name="transcode", subjects=["transcode"])
        await jetstream.add_consumer(
            "transcode",
            durable_name="workers",
            max_ack_pending=2,  # default: 1000, of all workers together
            ack_wait=3600,
        )
        for name in ("cat", "dog", "owl"):
            await jetstream.publish("transcode", f"{name}.mp4".encode())

        workers = await jetstream.pull_subscribe_bind("workers", "transcode")
        held = await workers.fetch(2)
        print("delivered:", ", ".join(one.data.decode() for one in held))
        await show(jetstream, "two are not acknowledged")
        idle = await jetstream.pull_subscribe_bind("workers", "transcode")
        try:
            await idle.fetch(1, timeout=0.5)
        except TimeoutError:
            print("the third does not come, and nothing says why")
        await idle.unsubscribe()  # Else the third may come to it late.

        await held[0].ack_sync()
        await show(jetstream, "one is acknowledged")
        [third] = await workers.fetch(1)
        print("delivered:", third.data.decode())


if __name__ == "__main__":
    run(main)
