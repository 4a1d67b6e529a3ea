# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10", "opentelemetry-sdk>=1.38"]
# ///
"""Trace context through RabbitMQ: upload and transcoding in one trace."""

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.trace import Link, SpanKind

from rabbitmq_client import connect, declare_queue, publish, run

QUEUE = "traced"

spans = InMemorySpanExporter()  # In production, take an OTLP exporter.
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = provider.get_tracer("video-platform")


def attributes(operation: str, message: str) -> dict[str, str]:
    """What the messaging conventions of OpenTelemetry want on a span."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": QUEUE,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": message,
    }


async def send(channel: AbstractChannel, task: str, number: str) -> None:
    with tracer.start_as_current_span(
        f"send {QUEUE}",
        kind=SpanKind.PRODUCER,
        attributes=attributes("send", number),
    ):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)  # It adds the ids, as `traceparent`.
        await publish(
            channel,
            QUEUE,
            task.encode(),
            message_id=number,
            headers={**carrier},
        )


async def process(message: AbstractIncomingMessage) -> None:
    carrier = {name: str(value) for name, value in message.headers.items()}
    sender = propagate.extract(carrier)
    context = trace.get_current_span(sender).get_span_context()
    with tracer.start_as_current_span(
        f"process {QUEUE}",
        context=sender,  # A parent is right for one message at a time.
        links=[Link(context)] if context.is_valid else [],
        kind=SpanKind.CONSUMER,
        attributes=attributes("process", message.message_id or ""),
    ):
        await message.ack()  # The work is done, and has its own spans.


async def main() -> None:
    async with connect() as channel:
        queue = await declare_queue(channel, QUEUE, {})
        with tracer.start_as_current_span("POST /videos"):
            await send(channel, "transcode cat.mp4", "upload-1")
        # A publisher that forgets the trace.
        dog = b"transcode dog.mp4"
        await publish(channel, QUEUE, dog, message_id="upload-2")
        async with queue.iterator() as messages:
            async for message in messages:
                await process(message)
                if message.message_id == "upload-2":
                    break
    sent, upload, traced, untraced = spans.get_finished_spans()
    for name, value in (traced.attributes or {}).items():
        print(f"{name}:", value)
    print("cat.mp4: in the trace of its upload:", same(upload, traced))
    parent = traced.parent.span_id if traced.parent else 0
    print("cat.mp4: child of its send:", parent == sent.context.span_id)
    print("dog.mp4: in the trace of its upload:", same(upload, untraced))


def same(one: ReadableSpan, other: ReadableSpan) -> bool:
    return bool(one.context.trace_id == other.context.trace_id)


if __name__ == "__main__":
    run(main)
