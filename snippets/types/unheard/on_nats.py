# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Four ways to publish on NATS, and what the publisher learns."""

from nats.js.api import DiscardPolicy
from nats.js.errors import APIError, NoStreamResponseError

from nats_client import connect_core, run


async def main() -> None:
    async with connect_core() as connection:
        await connection.publish("uploads", b"cat.mp4")
        await connection.flush()
        print("core NATS, nobody listens: no error")

        jetstream = connection.jetstream()
        try:
            await jetstream.publish("uploads", b"cat.mp4")
        except NoStreamResponseError as error:
            print(f"JetStream, no stream: {type(error).__name__}")

        for policy in (DiscardPolicy.OLD, DiscardPolicy.NEW):
            name = f"uploaded-{policy.value}"
            stream = await jetstream.add_stream(
                name=name, subjects=[name], max_msgs=2, discard=policy
            )
            print(
                f"a stream for 2 messages, discard = {stream.config.discard}"
            )
            for video in ("cat", "dog", "owl"):
                try:
                    ack = await jetstream.publish(name, video.encode())
                    print(f"  {video}: acknowledged as {ack.seq}")
                except APIError as error:
                    print(f"  {video}: {error.description}")
            state = (await jetstream.stream_info(name)).state
            print(f"  kept: {state.first_seq} to {state.last_seq}")


if __name__ == "__main__":
    run(main)
