# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16", "opentelemetry-sdk>=1.38"]
# ///
"""Trace context through NATS JetStream: a redelivery joins its trace again."""

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.trace import Link, SpanKind

from nats_client import SECONDS, connect, run

STREAM, WORKERS = "traced", "workers"

spans = InMemorySpanExporter()  # In production, take an OTLP exporter.
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = provider.get_tracer("video-platform")


def attributes(operation: str) -> dict[str, str]:
    """What the messaging conventions of OpenTelemetry want on a span."""
    return {
        "messaging.system": "nats",
        "messaging.destination.name": STREAM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


async def send(jetstream: JetStreamContext, task: str) -> None:
    with tracer.start_as_current_span(
        f"send {STREAM}", kind=SpanKind.PRODUCER, attributes=attributes("send")
    ):
        headers: dict[str, str] = {}
        propagate.inject(headers)  # It adds the ids, as `traceparent`.
        await jetstream.publish(STREAM, task.encode(), headers=headers)


async def process(message: Msg) -> None:
    sender = propagate.extract(message.headers or {})
    context = trace.get_current_span(sender).get_span_context()
    with tracer.start_as_current_span(
        f"process {STREAM}",
        context=sender,  # A parent is right for one message at a time.
        links=[Link(context)] if context.is_valid else [],
        kind=SpanKind.CONSUMER,
        attributes={
            **attributes("process"),
            "video.delivery": message.metadata.num_delivered,
        },
    ) as span:
        if message.metadata.num_delivered == 1:
            span.set_attribute("error.type", "CodecError")
            await message.nak()
        else:
            await message.ack_sync(SECONDS)


async def main() -> None:
    async with connect() as jetstream:
        await jetstream.add_stream(name=STREAM, subjects=[STREAM])
        await jetstream.add_consumer(STREAM, durable_name=WORKERS)
        with tracer.start_as_current_span("POST /videos"):
            await send(jetstream, "transcode cat.mp4")
        queue = await jetstream.pull_subscribe_bind(WORKERS, STREAM)
        for _ in range(2):  # it fails, and comes again
            (message,) = await queue.fetch(1, timeout=5)
            await process(message)
    sent, upload, *processed = spans.get_finished_spans()
    for span in processed:
        parent = span.parent.span_id if span.parent else 0
        said = span.attributes or {}
        print(
            f"delivery {said['video.delivery']!s}:",
            f"failed: {said.get('error.type', 'no')!s},",
            f"same trace: {span.context.trace_id == upload.context.trace_id},",
            f"child of its send: {parent == sent.context.span_id}",
        )


if __name__ == "__main__":
    run(main)
