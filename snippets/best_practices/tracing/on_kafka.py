# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14", "opentelemetry-sdk>=1.38"]
# ///
"""Trace context through Kafka: one span for a batch, linked to each upload."""

from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.trace import Link, SpanKind

import kafka_client

TOPIC, GROUP = "uploads", "thumbnails"

spans = InMemorySpanExporter()  # In production, take an OTLP exporter.
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = provider.get_tracer("video-platform")


def attributes(operation: str) -> dict[str, str]:
    """What the messaging conventions of OpenTelemetry want on a span."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": TOPIC,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


async def send(producer: AIOKafkaProducer, video: str) -> None:
    with tracer.start_as_current_span(
        f"send {TOPIC}", kind=SpanKind.PRODUCER, attributes=attributes("send")
    ):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)  # It adds the ids, as `traceparent`.
        headers = [(name, value.encode()) for name, value in carrier.items()]
        await kafka_client.send(
            producer, TOPIC, video, key=video.encode(), headers=headers
        )


def link(record: ConsumerRecord) -> Link:
    # Only what the propagator asks for: another header may be no text.
    headers, carrier = dict(record.headers), {}
    for name in propagate.get_global_textmap().fields:
        if value := headers.get(name):
            carrier[name] = value.decode(errors="replace")
    sender = trace.get_current_span(propagate.extract(carrier))
    return Link(sender.get_span_context())


def process(records: Sequence[ConsumerRecord]) -> None:
    # A span has one parent, and a batch has many senders: links name all.
    with tracer.start_as_current_span(
        f"process {TOPIC}",
        links=[link(record) for record in records],
        kind=SpanKind.CONSUMER,
        attributes={
            **attributes("process"),
            "messaging.consumer.group.name": GROUP,
            "messaging.batch.message_count": len(records),
        },
    ):
        pass  # The work has its own spans.


async def main() -> None:
    async with kafka_client.connect(TOPIC) as producer:
        for video in ("cat.mp4", "dog.mp4"):
            with tracer.start_as_current_span("POST /videos"):
                await send(producer, video)
    batch: list[ConsumerRecord] = []
    async with kafka_client.consume(GROUP, "thumbnailer", TOPIC) as consumer:
        while len(batch) < 2:
            async with consumer.next() as record:
                batch.append(record)
        process(batch)
        await consumer.commit(batch[-1])
    *_, processed = done = spans.get_finished_spans()
    for name, value in (processed.attributes or {}).items():
        print(f"{name}:", value)
    senders = [one.context for one in done if one.kind == SpanKind.PRODUCER]
    linked = [one.context.span_id for one in processed.links]
    print("parent:", processed.parent)
    print("linked to both:", linked == [one.span_id for one in senders])


if __name__ == "__main__":
    kafka_client.run(main)
