"""Publish-subscribe: what it promises, on every broker."""

from __future__ import annotations

from tests.patterns.claims import claim, holds
from tests.patterns.home import WARM_UP
from tests.patterns.stage import LEASES, Actor, Stage, everything

EVENTS = [f"uploaded {name}.mp4" for name in ("ant", "bee", "cat", "dog")]
SUBSCRIBERS = ("thumbnailer", "view-counter")

SHARED = "Each event reaches only one of the subscribers."
AWAY = "The subscriber misses what was published while it was away."
AGAIN = "The subscriber gets again what it had done before."
HELD_UP = "The subscriber that hangs keeps events from the others."
DROPPED = "The event whose subscriber failed does not come again."


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
    "Every subscriber gets every event.",
    promise=True,
    seen=SHARED,
    **OWN_CHANNEL,
)
def test_every_subscriber_gets_every_event(stage: Stage) -> None:
    for name in SUBSCRIBERS:
        stage.call("subscribe", subscriber=name)
    receivers = [stage.spawn("receive", subscriber=name) for name in SUBSCRIBERS]
    stage.call("publish", events=EVENTS)
    assert stage.happens(lambda: {*EVENTS} <= {*everything("done", receivers)}, *receivers)
    assert stage.in_time(
        lambda: all({*EVENTS} <= {*receiver.done} for receiver in receivers), *receivers
    ), SHARED
    assert [receiver.done for receiver in receivers] == [EVENTS, EVENTS]


@claim(
    "What was published while a subscriber was away arrives when it returns, and what it had"
    " acknowledged before does not come again.",
    seen=AWAY,
    minibroker=holds(
        "delivery.ack()", "consumer.prefetch += 1; consumer.queue.dispatch()", seen=AGAIN
    ),
    rabbitmq=holds(
        'durable=True,\n        arguments={"x-queue-type": "quorum"},', "auto_delete=True,"
    ),
    kafka=holds("await consumer.commit(record)", "pass", seen=AGAIN),
    nats=holds(
        "consume(jetstream, CHANNEL, subscriber, limit)",
        "consume(jetstream, CHANNEL, (await jetstream.add_consumer("
        "CHANNEL, deliver_policy=DeliverPolicy.NEW)).name or '', limit)",
    ),
    redis=holds(
        "events = subscribed(redis,",
        'await redis.xgroup_setid(CHANNEL, subscriber, "$"); events = subscribed(redis,',
    ),
    mqtt=holds("7 * 24 * 3600", "0"),
    postgresql=holds(
        "DELETE FROM delivery WHERE id = %s",
        "UPDATE delivery SET id = DEFAULT WHERE id = %s",
        seen=AGAIN,
    ),
)
def test_a_subscriber_who_was_away_misses_nothing(stage: Stage) -> None:
    name = SUBSCRIBERS[0]
    stage.call("subscribe", subscriber=name)
    before = stage.spawn("receive", subscriber=name)
    assert reached(stage, before)
    stage.call("publish", events=EVENTS[:2])
    assert stage.happens(lambda: {*EVENTS[:2]} <= {*before.done}, before)
    # Who takes the next event has acknowledged the one before.
    assert reached(stage, before)
    before.kill()
    stage.call("publish", events=EVENTS[2:])
    after = stage.spawn("receive", subscriber=name)
    assert reached(stage, after)
    assert stage.in_time(lambda: {*EVENTS[2:]} <= {*after.done}, after), AWAY
    assert stage.stays(lambda: before.done + after.done == EVENTS, stage.redelivery), AGAIN


def reached(stage: Stage, receiver: Actor) -> bool:
    """Publish events of no interest until the receiver has one more."""
    before = len(receiver.warmed_up)

    def offered() -> bool:
        stage.call("publish", events=[WARM_UP])
        return len(receiver.warmed_up) > before

    return stage.happens(offered, receiver)


@claim("A subscriber who hangs does not hold up the others.", seen=HELD_UP, **OWN_CHANNEL)
def test_a_hanging_subscriber_holds_up_nobody(stage: Stage) -> None:
    if stage.key == "nats":  # it hangs for less than the time after which its event comes again
        stage.replace(LEASES["nats"][1], "ACK_WAIT = 30.0")
    for name in SUBSCRIBERS:
        stage.call("subscribe", subscriber=name)
    hanging, healthy = (
        stage.spawn("receive", subscriber=name, mode=mode)
        for name, mode in zip(SUBSCRIBERS, ("hold", "do"), strict=True)
    )
    published: list[str] = []

    def hangs() -> bool:
        published.append(f"uploaded {len(published)}.mp4")
        stage.call("publish", events=published[-1:])
        return bool(hanging.taken)

    assert stage.happens(hangs, hanging)
    published += EVENTS
    stage.call("publish", events=EVENTS)
    assert stage.in_time(lambda: {*published} <= {*healthy.done}, healthy, hanging), HELD_UP
    assert healthy.done == published
    # Nor has it taken the events of the one that hung.
    hanging.release()
    assert stage.happens(lambda: {*published} <= {*hanging.done}, hanging)


@claim(
    "An event whose subscriber failed comes again, to that subscriber and to no other.",
    seen=DROPPED,
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
    failing, healthy = (
        stage.spawn("receive", subscriber=name, mode=mode)
        for name, mode in zip(SUBSCRIBERS, ("fail", "do"), strict=True)
    )
    stage.call("publish", events=EVENTS)
    assert stage.happens(lambda: bool(failing.error), failing)
    again = stage.spawn("receive", subscriber=SUBSCRIBERS[0])
    assert stage.happens(lambda: EVENTS[-1] in again.done, again)
    assert stage.in_time(lambda: {*EVENTS} <= {*again.done}, again), DROPPED
    assert sorted(again.done) == EVENTS
    assert stage.happens(lambda: len(healthy.done) >= len(EVENTS), healthy)
    assert stage.stays(lambda: healthy.done == EVENTS, 0.5)
