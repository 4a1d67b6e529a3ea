# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""What RabbitMQ says to a message that it cannot route."""

from aio_pika import Message, connect
from aio_pika.exceptions import DeliveryError

from rabbitmq_client import URL, run

MISSPELT = "trancsode"  # no queue has this name


async def main() -> None:
    async with await connect(URL) as connection:
        careless = await connection.channel(publisher_confirms=True)
        answer = await careless.default_exchange.publish(
            Message(b"transcode cat.mp4"),
            routing_key=MISSPELT,
            mandatory=False,
        )
        print("not mandatory:", type(answer).__name__)

        # mandatory is aio-pika's default. RabbitMQ returns the message before
        # it confirms it; aio-pika hands that back as the result of publish().
        returned = await careless.default_exchange.publish(
            Message(b"transcode dog.mp4"),
            routing_key=MISSPELT,
            mandatory=True,
        )
        print("mandatory:", type(returned).__name__)

        careful = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        try:
            await careful.default_exchange.publish(
                Message(b"transcode owl.mp4"),
                routing_key=MISSPELT,
                mandatory=True,
            )
        except DeliveryError as error:
            print("mandatory, on_return_raises:", type(error).__name__)


if __name__ == "__main__":
    run(main)
