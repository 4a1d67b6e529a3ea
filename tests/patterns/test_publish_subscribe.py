"""Publish-subscribe: what it promises, on every broker."""

from __future__ import annotations

from tests.patterns.claims import claim, holds
from tests.patterns.stage import Stage

EVENTS = [f"uploaded {name}.mp4" for name in ("ant", "bee", "cat", "dog")]
SUBSCRIBERS = ("thumbnailer", "notifier")


#: The text that gives each subscriber a channel of its own, and what makes them share one.
OWN_CHANNEL = {
    "minibroker": holds(
        'BROKER.consume(f"{CHANNEL}.{subscriber}"', 'BROKER.consume(f"{CHANNEL}.thumbnailer"'
    ),
    "rabbitmq": holds('f"{CHANNEL}.{subscriber}",', "CHANNEL,"),
    "kafka": holds(
        "consume(subscriber, subscriber, VIDEOS)", 'consume("everybody", subscriber, VIDEOS)'
    ),
    "nats": holds(
        "consume(jetstream, CHANNEL, subscriber, limit)",
        'consume(jetstream, CHANNEL, "thumbnailer", limit)',
    ),
    "redis": holds(
        "read(redis, stream, group, group, after)",
        'read(redis, stream, "thumbnailer", group, after)',
    ),
    "mqtt": holds(
        "self.client.subscribe(topic, options",
        'self.client.subscribe(f"$share/all/{topic}", options',
    ),
    "postgresql": holds(
        "SELECT subscriber, %s FROM subscription",
        "SELECT subscriber, %s FROM subscription LIMIT 1",
        with_help="a table, and a row for each subscriber and event",
    ),
}


@claim(
    "Every subscriber gets every event, in the order in which they were published.",
    promise=True,
    **OWN_CHANNEL,
)
def test_every_subscriber_gets_every_event(stage: Stage) -> None:
    for name in SUBSCRIBERS:
        stage.call("subscribe", subscriber=name)
    receivers = [stage.spawn("receive", subscriber=name) for name in SUBSCRIBERS]
    stage.call("publish", events=EVENTS)
    assert stage.happens(
        lambda: all(len(receiver.done) >= len(EVENTS) for receiver in receivers), *receivers
    )
    assert [receiver.done for receiver in receivers] == [EVENTS, EVENTS]


@claim(
    "What was published while a subscriber was away arrives when it returns, and nothing twice.",
    minibroker=holds("delivery.ack()", "pass"),
    rabbitmq=holds(
        'durable=True,\n        arguments={"x-queue-type": "quorum"},', "auto_delete=True,"
    ),
    kafka=holds("await consumer.commit(record)", "pass"),
    nats=holds(
        "consume(jetstream, CHANNEL, subscriber, limit)",
        "consume(jetstream, CHANNEL, (await jetstream.add_consumer("
        "CHANNEL, deliver_policy=DeliverPolicy.NEW)).name or '', limit)",
    ),
    redis=holds("await redis.xack(CHANNEL, subscriber, number)", "pass"),
    mqtt=holds("7 * 24 * 3600", "0"),
    postgresql=holds("await db.execute(DELETE, [number])", "pass"),
)
def test_a_subscriber_who_was_away_misses_nothing(stage: Stage) -> None:
    stage.call("subscribe", subscriber="notifier")
    stage.call("publish", events=EVENTS[:2])
    before = stage.spawn("receive", subscriber="notifier", limit=2)
    assert stage.happens(lambda: before.returned, before)
    stage.call("publish", events=EVENTS[2:])
    after = stage.spawn("receive", subscriber="notifier")
    assert stage.happens(lambda: len(after.done) >= 2, after)
    assert stage.stays(lambda: before.done + after.done == EVENTS, stage.redelivery)


@claim("A subscriber who hangs or fails does not hold up the others.", **OWN_CHANNEL)
def test_a_failed_subscriber_holds_up_nobody(stage: Stage) -> None:
    for name in (*SUBSCRIBERS, "archiver"):
        stage.call("subscribe", subscriber=name)
    hanging = stage.spawn("receive", subscriber="thumbnailer", mode="hold")
    failing = stage.spawn("receive", subscriber="archiver", mode="fail")
    stage.call("publish", events=EVENTS[:1])
    assert stage.happens(lambda: bool(hanging.taken) and bool(failing.error), hanging, failing)
    healthy = stage.spawn("receive", subscriber="notifier")
    stage.call("publish", events=EVENTS[1:])
    assert stage.happens(lambda: len(healthy.done) >= len(EVENTS), healthy, hanging, failing)
    assert healthy.done == EVENTS
    # Nor has it taken the events of the one that hung: on NATS, what waits too long comes again.
    hanging.release()
    assert stage.happens(lambda: set(EVENTS) <= set(hanging.done), hanging)


@claim(
    "An event whose subscriber failed comes again, to that subscriber and to no other.",
    minibroker=holds(
        "await handle(delivery.message.body)",
        "delivery.ack(); await handle(delivery.message.body); continue",
    ),
    rabbitmq=holds(
        "await handle(event)",
        "await message.ack(); await handle(event); continue",
    ),
    kafka=holds("await handle(", "await consumer.commit(record); await handle("),
    nats=holds(
        "await handle(text(message))",
        "await message.ack_sync(); await handle(text(message)); continue",
    ),
    redis=holds(
        "await handle(",
        "await redis.xack(CHANNEL, subscriber, number); await handle(",
    ),
    mqtt=holds(
        "await handle(event)\n            session.ack(message)",
        "session.ack(message)\n            await handle(event)",
    ),
    postgresql=holds(
        "await handle(event)",
        'await db.execute(DELETE, [number]); await db.execute("COMMIT"); await handle(event)',
    ),
)
def test_a_failed_event_comes_again(stage: Stage) -> None:
    for name in SUBSCRIBERS:
        stage.call("subscribe", subscriber=name)
    healthy = stage.spawn("receive", subscriber="notifier")
    failing = stage.spawn("receive", subscriber="thumbnailer", mode="fail")
    stage.call("publish", events=EVENTS)
    assert stage.happens(lambda: bool(failing.error), failing)
    again = stage.spawn("receive", subscriber="thumbnailer")
    assert stage.happens(lambda: len(again.done) >= len(EVENTS), again)
    assert sorted(again.done) == EVENTS
    assert stage.happens(lambda: len(healthy.done) >= len(EVENTS), healthy)
    assert stage.stays(lambda: healthy.done == EVENTS, 0.5)
