# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""The defaults of a stream and a consumer, as the NATS server answers."""

from nats_client import connect_core, run


async def main() -> None:
    async with connect_core() as connection:
        print(f"max_payload = {connection.max_payload}")
        jetstream = connection.jetstream()
        made = await jetstream.add_stream(name="videos", subjects=["videos"])
        stream = made.config
        print("a stream of which only name and subject were given")
        print(
            f"  storage = {stream.storage}, replicas = {stream.num_replicas}"
        )
        print(f"  retention = {stream.retention}, discard = {stream.discard}")
        print(f"  max_age = {stream.max_age}, max_bytes = {stream.max_bytes}")
        print(f"  duplicate_window = {stream.duplicate_window} s")

        has = await jetstream.add_consumer("videos", durable_name="notifier")
        consumer = has.config
        print("a consumer of which only the name was given")
        print(f"  deliver_policy = {consumer.deliver_policy}")
        print(f"  ack_policy = {consumer.ack_policy}")
        print(f"  ack_wait = {consumer.ack_wait} s")
        print(f"  max_deliver = {consumer.max_deliver}")
        print(f"  max_ack_pending = {consumer.max_ack_pending}")
        print(f"  inactive_threshold = {consumer.inactive_threshold}")


if __name__ == "__main__":
    run(main)
