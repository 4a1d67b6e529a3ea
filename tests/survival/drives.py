"""How a function is lived that takes no `handle`, or sends in a way of its own.

Each drive is added to the end of the snippet's copy. `drive_live(handle)` is then what lives: it
calls `handle` with the text of what was received, or with anything after each successful call.
`drive_feed(messages)` sends, `drive_prepare()` comes before, `drive_help()` lives beside.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The end of a publisher's drive: `step` calls the snippet once.
AGAIN = """
from uuid import uuid4


async def keep_calling(step, handle):
    mine, number = uuid4().hex[:6], 0
    while True:
        number += 1
        label = f"sent-{mine}-{number}"
        large = Path("large")
        if large.exists():
            large.unlink()
            label = "x" * 2_000_000
        await step(label)
        await handle(f"sent-{number}")
        await asyncio.sleep(0.3)
"""


@dataclass(frozen=True)
class Drive:
    """`kind` is a subject's; `obeys` tells whether the work itself calls the handler."""

    kind: str
    code: str
    obeys: bool = False


#: By the name of a parameter that stands for a handler.
BY_PARAMETER = {
    "store": Drive(
        "consumer",
        """

async def drive_live(handle):
    async def store(views):
        await handle(" ".join(views))

    await work(store)
""",
        obeys=True,
    )
}

_TRACED = """

async def drive_live(handle):
    async with {connect} as it:
        await keep_calling(lambda label: send(it, {arguments}), handle)
"""
_STREAM = """

async def drive_prepare():
    async with connect() as it:
        await it.add_stream(name={name}, subjects=[{name}])
"""
_WEB = """

async def drive_prepare():
    async with connect() as channel:
        await declare(channel)
"""

#: By the snippet's name and the function's.
DRIVES = {
    "best_practices/tracing/on_kafka send": Drive(
        "publisher", _TRACED.format(connect="kafka_client.connect(TOPIC)", arguments="label")
    ),
    "best_practices/tracing/on_nats send": Drive(
        "publisher",
        _TRACED.format(connect="connect()", arguments="label") + _STREAM.format(name="STREAM"),
    ),
    "best_practices/tracing/on_rabbitmq send": Drive(
        "publisher",
        _TRACED.format(connect="connect()", arguments="label, label[:50]")
        + """

async def drive_prepare():
    async with connect() as channel:
        await declare_queue(channel, QUEUE, {})
""",
    ),
    "best_practices/deduplication/on_nats publish": Drive(
        "publisher",
        """

async def drive_live(handle):
    async with connect() as it:
        await keep_calling(lambda label: publish(it, label, label[:50]), handle)
"""
        + _STREAM.format(name='"transcode"'),
    ),
    "best_practices/claim_check/on_nats publish": Drive(
        "publisher",
        """

async def drive_prepare():
    async with connect_core() as connection:
        await connection.jetstream().add_stream(name="subtitles", subjects=["subtitles"])


async def drive_live(handle):
    Path("store").mkdir(exist_ok=True)
    store = Store(Path("store"))
    async with connect_core() as connection:
        jetstream = connection.jetstream(timeout=SECONDS)
        await keep_calling(lambda label: publish(jetstream, store, label, b"Meow"), handle)
""",
    ),
    "best_practices/service_web/on_rabbitmq lifespan": Drive(
        "consumer",
        _WEB
        + """

async def drive_live(handle):
    async with lifespan(app):
        while True:
            while transcoded:
                await handle(transcoded.popleft())
            await asyncio.sleep(0.05)


async def drive_feed(messages):
    async with connect() as channel:
        await declare(channel)
        for each in messages:
            message = aio_pika.Message(each.encode(), delivery_mode=2)
            await channel.default_exchange.publish(message, QUEUE, timeout=5)
""",
    ),
    "best_practices/service_web/on_rabbitmq upload": Drive(
        "publisher",
        _WEB
        + """

async def drive_live(handle):
    async with lifespan(app):
        await keep_calling(upload, handle)
""",
    ),
    # It needs no credit: a task that the server drops has taken its credit along.
    "patterns/backpressure/on_mqtt work": Drive(
        "consumer",
        """

async def drive_feed(messages):
    async with mqtt_session.connect() as session:
        for each in messages:
            await session.publish(TOPIC, each)
""",
        obeys=True,
    ),
    "use_cases/background_jobs/on_postgresql take_soon": Drive(
        "consumer",
        """

async def drive_prepare():
    async with connect() as db:
        await create(db, TABLE)


async def drive_feed(messages):
    async with connect() as db:
        for each in messages:
            await Jobs(db).submit(each, each)


async def drive_live(handle):
    async with connect() as db:
        jobs = Jobs(db)
        while True:
            job, video, attempt = await take_soon(jobs)
            await handle(video)
            await jobs.finish(job, attempt, "done")
""",
    ),
    "use_cases/change_data_capture/on_postgresql relay": Drive(
        "consumer",
        """

import database

# A slot's name is the server's, and not the database's.
SLOT = "cdc_" + database.URL.rpartition("/")[2]


async def drive_prepare():
    async with connect() as db:
        await db.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"))
        await db.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE NOT active AND slot_name <> %s", [SLOT]
        )
        if not await value(db, "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", SLOT):
            await value(db, "SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", SLOT)


async def drive_feed(messages):
    async with connect() as db:
        for each in messages:
            await db.execute("INSERT INTO video VALUES (%s, 'new')", [each])


async def drive_live(handle):
    async def publish(change, row):
        await handle(f"{change} {row}")

    await relay(publish)
""",
        obeys=True,
    ),
    "use_cases/event_driven_services/on_rabbitmq serve": Drive(
        "consumer",
        driven_saga := """

async def drive_prepare():
    async with connect() as channel:
        for service, reactions in SAGA.items():
            await inbox(channel, service, *reactions)


async def drive_feed(messages):
    async with connect() as channel:
        for each in messages:
            await tell(channel, "booked", each)


async def drive_live(handle):
    def step(booking, action):
        asyncio.ensure_future(handle(booking))
        return True

    await serve("studio", step, set())
""",
    ),
    "use_cases/event_driven_services/on_rabbitmq keep_up": Drive(
        "consumer", driven_saga.replace("await serve(", "await keep_up(")
    ),
    "use_cases/iot_telemetry/on_mqtt collect": Drive(
        "consumer",
        """

async def drive_feed(messages):
    async with connect() as session:
        for each in messages:
            await put(session, "cameras/gate/celsius", each)


async def drive_live(handle):
    globals()["print"] = lambda *said: asyncio.ensure_future(handle(" ".join(said)))
    await collect()
""",
    ),
    "use_cases/iot_telemetry/on_mqtt device": Drive(
        "publisher",
        """

async def drive_live(handle):
    async with device("cameras/gate") as it:
        await keep_calling(lambda label: put(it, "cameras/gate/celsius", label), handle)
""",
    ),
    "use_cases/load_levelling/on_rabbitmq Pool.worker": Drive(
        "consumer",
        """

async def drive_live(handle):
    class Own(Pool):
        async def transcode(self, video):
            await handle(video)

    await Own().worker(10**9)
""",
        obeys=True,
    ),
    "use_cases/log_pipelines/on_kafka keep_shipping": Drive(
        "publisher",
        """

async def drive_live(handle):
    buffer = Buffer("web-1")
    shipping = asyncio.create_task(keep_shipping(buffer))

    async def ship_one(label):
        buffer.log("ERROR", label)
        while buffer.lines and not shipping.done():
            await asyncio.sleep(0.05)
        if shipping.done():
            await shipping

    try:
        await keep_calling(ship_one, handle)
    finally:
        shipping.cancel()
""",
    ),
    "use_cases/notifications/on_rabbitmq fan_out": Drive(
        "consumer",
        """

async def drive_feed(messages):
    async with connect() as channel:
        for each in messages:
            await publish(channel, EVENTS, each, each)


async def drive_live(handle):
    def audience(video):
        asyncio.ensure_future(handle(video))
        return ["kim"]

    while True:
        await fan_out(audience)
""",
    ),
    "use_cases/notifications/on_rabbitmq send": Drive(
        "consumer",
        """

async def drive_feed(messages):
    async with connect() as channel:
        for each in messages:
            await publish(channel, "mail", each, each)


async def drive_live(handle):
    globals()["print"] = lambda *said: asyncio.ensure_future(handle(" ".join(said)))
    await send("mail", 10**9)
""",
    ),
    "use_cases/request_reply/on_nats may_watch": Drive(
        "requestor",
        entitled := """

async def drive_help():
    async with connect("one") as connection:
        await Entitlement("one").serve(connection)
        await asyncio.Event().wait()


async def drive_live(handle):
    async with connect("page") as page:
        while True:
            said = await may_watch(page, "ana", "cat.mp4")
            if said in ("yes", "no"):
                await handle(said)
            await asyncio.sleep(0.3)
""",
    ),
    "use_cases/request_reply/on_nats Entitlement.serve": Drive(
        "consumer",
        """

async def drive_feed(messages):
    async with connect("page") as page:
        for each in messages:
            await may_watch(page, each, "cat.mp4")


async def drive_live(handle):
    class Own(Entitlement):
        async def reply(self, request):
            await super().reply(request)
            await handle(request.data.decode(errors="replace"))

    async with connect("one") as connection:
        await Own("one").serve(connection)
        await asyncio.Event().wait()
""",
    ),
    "use_cases/scheduled_work/on_postgresql run": Drive(
        "consumer",
        """

async def drive_prepare():
    async with connect() as db:
        await create(db, TABLES)


async def drive_feed(messages):
    async with connect() as db:
        for each in messages:
            await put(db, each, datetime.now(UTC))


async def drive_live(handle):
    one_due = submit_due

    async def noted(*arguments):
        if name := await one_due(*arguments):
            await handle(name)
        return name

    globals()["submit_due"] = noted
    await run()
""",
    ),
    "use_cases/stream_processing/on_kafka count": Drive(
        "consumer",
        """

async def drive_feed(messages):
    await watch([(5, each) for each in messages])


async def drive_live(handle):
    counted = take

    def noted(state, view):
        changed = counted(state, view)
        asyncio.ensure_future(handle(view.decode()))
        return changed

    globals()["take"] = noted
    await count(10**9)
""",
    ),
}

#: Loops that end by themselves, however long they are: no service lives in one. By the function.
ENDS = {
    "best_practices/queue_arguments/on_rabbitmq drain": "it empties a queue",
    "best_practices/redrive/on_rabbitmq letters": "it reads what is there",
    "best_practices/service_batch/on_rabbitmq next_batch": "a part of work()",
    "best_practices/service_process/on_redis renew": "a part of work()",
    "best_practices/service_web/on_rabbitmq keep_connected": "a part of lifespan()",
    "best_practices/testing/on_rabbitmq until": "it has a deadline",
    "best_practices/testing/on_rabbitmq work": "the test kills it on its first task",
    "best_practices/tls/on_redis pump": "a part of the demonstration's listener",
    "best_practices/heartbeat/on_rabbitmq work_on_one": "one task",
    "best_practices/shutdown/on_nats finish": "one task",
    "patterns/backpressure/on_redis offer_all": "it has a patience",
    "patterns/backpressure/on_redis renew": "a part of work()",
    "patterns/dead_letter_channel/on_kafka dead": "it reads what is there",
    "patterns/dead_letter_channel/on_mqtt dead": "it reads what is there",
    "patterns/delayed_retry/on_mqtt dead": "it reads what is there",
    "patterns/message_expiration/on_redis renew": "a part of work()",
    "patterns/partitioned_consumers/on_rabbitmq queues": "it counts queues",
    "patterns/partitioned_consumers/on_redis renew": "a part of work()",
    "patterns/transactional_outbox/on_redis publisher": "a part of relay()",
    "types/mqtt_who_gets_it/on_mqtt visit": "it reads what is there",
    "types/poison/on_rabbitmq fail_for_ever": "it empties a queue",
    "types/postgresql_rate/on_postgresql work": "it empties a table",
    "use_cases/change_data_capture/on_postgresql start": "it reads what is there",
    "use_cases/iot_telemetry/on_mqtt show": "a part of collect()",
    "use_cases/load_levelling/on_rabbitmq Pool.work": "it begins the workers",
    "use_cases/log_pipelines/on_kafka ship": "it sends what is there",
    "use_cases/log_pipelines/on_kafka collect": "it reads what is there",
    "use_cases/stream_processing/on_kafka read_state": "it reads what is there",
}
#: Functions of these names read to the end of what is there, on every broker.
READ = {"dead", "replay", "letters", "views", "refused", "main"}
