"""What each pattern keeps of confirmed work when the leader of its queue is killed."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from psycopg.errors import UniqueViolation

from tests.atlas.patterns.service import Service
from tests.atlas.patterns.stage import holds, kill_for_a_while, replicate
from tests.atlas.patterns.trial import TRIALS as TRIALS
from tests.atlas.patterns.trial import Numbers, trial
from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.kafka import KafkaCluster
from tests.brokers.cluster.machines import NUMBERS
from tests.brokers.cluster.nats import NatsCluster, ask
from tests.brokers.cluster.postgresql import PostgresqlCluster
from tests.brokers.cluster.rabbitmq import RabbitmqCluster

#: Items that are sent: more than are done before the killed server is back.
ITEMS = 120
WORKERS = "AB"
PROMOTED = (
    "An operator promoted a standby 3 s later, and made the old primary a standby before it came"
    " back."
)


def videos(what: str) -> list[str]:
    return [f"{what} {number}.mp4" for number in range(ITEMS)]


async def send_and_kill(
    cluster: Cluster, service: Service, queue: str, items: list[Any], by: str, **more: Any
) -> None:
    """Send items, and kill the leader of a queue meanwhile."""
    leader = await cluster.leader(queue)
    await asyncio.gather(
        service.send(items, by, **more),
        kill_for_a_while(cluster, leader, service),
    )


def all_done(service: Service, items: list[Any]) -> bool:
    return set(items) <= service.counted.keys()


@trial(
    "nats",
    "{confirmed} tasks were confirmed, and every one was done; done a second time: {again}."
    " Meanwhile no task was done for {gap} s.",
    by_hand="An operator had given the stream three replicas, as the snippet makes one.",
)
async def work_queue(cluster: NatsCluster, service: Service) -> Numbers:
    await service.call("declare")
    await replicate(service.module.QUEUE, service.module.WORKERS)
    for worker in WORKERS:
        service.keep("work", worker=worker, handle=service.take)
    tasks = videos("transcode")
    await send_and_kill(cluster, service, service.module.QUEUE, tasks, "submit")
    await holds(partial(all_done, service, tasks), "every confirmed task to be done")
    return service.numbers()


@trial(
    "rabbitmq",
    "{confirmed} events were confirmed, and each of two subscribers got all of them; got a"
    " second time: {again}. Meanwhile nobody got an event for {gap} s.",
)
async def publish_subscribe(cluster: RabbitmqCluster, service: Service) -> Numbers:
    async def heard(subscriber: str, event: str) -> None:
        service.note((subscriber, event))

    for subscriber in WORKERS:
        await service.call("subscribe", subscriber=subscriber)
        service.keep("receive", subscriber=subscriber, handle=partial(heard, subscriber))
    events = videos("uploaded")
    queue = f"{service.module.CHANNEL}.A"
    await send_and_kill(cluster, service, queue, events, "publish")
    wanted = [(subscriber, event) for subscriber in WORKERS for event in events]
    await holds(partial(all_done, service, wanted), "each subscriber to have every event")
    return service.numbers()


@trial(
    "rabbitmq",
    "{confirmed} events were confirmed, and each receiver got those that it had asked for, and no"
    " other; got a second time: {again}. Meanwhile nobody got an event for {gap} s.",
)
async def topic_router(cluster: RabbitmqCluster, service: Service) -> Numbers:
    async def heard(receiver: str, key: str, body: str) -> None:
        service.note((receiver, key, body))

    patterns = {"german": ("video.*.de", ".de"), "uploads": ("video.uploaded.*", ".uploaded.")}
    for receiver, (pattern, _) in patterns.items():
        await service.call("subscribe", receiver=receiver, patterns=[pattern])
        service.keep("receive", receiver=receiver, handle=partial(heard, receiver))
    keys = ("video.uploaded.de", "video.transcoded.de", "video.uploaded.en")
    events = [(keys[number % len(keys)], video) for number, video in enumerate(videos("video"))]
    queue = f"{service.module.EXCHANGE}.german"
    await send_and_kill(cluster, service, queue, events, "publish")
    wanted = {
        (receiver, key, body)
        for receiver, (_, part) in patterns.items()
        for key, body in events
        if part in key
    }
    await holds(lambda: wanted <= service.counted.keys(), "each receiver to have its events")
    assert service.counted.keys() == wanted, "somebody got what was not asked for"
    return service.numbers()


@trial(
    "nats",
    "The server of a replier was killed. Of {requests} requests {replied} got their own reply, and"
    " {failed} ended with an error. Meanwhile no request was answered for {gap} s.",
)
async def request_reply(cluster: NatsCluster, service: Service) -> Numbers:
    async def length(video: str) -> str:
        return f"the length of {video}"

    for replier in WORKERS:
        service.keep("serve", replier=replier, handle=length)
    await holds(lambda: bool(server_of("A")), "the repliers to connect")
    requests, failed = videos("length"), 0

    async def ask_each() -> None:
        nonlocal failed
        waiting = list(reversed(requests))
        while waiting:
            try:
                async with service.module.requestor() as request:
                    while waiting:
                        video = waiting.pop()
                        try:
                            reply = await request(video, 2.0)
                        except TimeoutError:
                            failed += 1
                        else:
                            assert reply == f"the length of {video}", reply
                            service.confirmed.append(video)
                            service.note(video)
                        await asyncio.sleep(0.1)
            except (OSError, service.module.OutboundBufferLimitError):
                failed += 1

    await asyncio.gather(ask_each(), kill_for_a_while(cluster, server_of("A"), service))
    return {
        "requests": len(requests),
        "replied": len(service.done),
        "failed": failed,
        "gap": service.numbers()["gap"],
    }


def server_of(name: str) -> int:
    """Return the number of NATS's server to which a client of this name is connected, or 0."""
    for number in NUMBERS:
        if any(one.get("name") == name for one in ask(number, "connz")["connections"]):
            return number
    return 0


@trial(
    "postgresql",
    "{confirmed} views were confirmed, and exactly {counted} were counted. The producer's failed"
    " attempts, each of which it repeated with the same id: {again}. Meanwhile no view was counted"
    " for {gap} s.",
    by_hand=PROMOTED,
)
async def idempotent_receiver(cluster: PostgresqlCluster, service: Service) -> Numbers:
    await service.call("declare")
    for receiver in WORKERS:
        service.keep("receive", receiver=receiver, handle=service.take)
    events = [(str(uuid4()), f"viewed {number % 7}.mp4") for number in range(ITEMS)]
    await send_and_kill(cluster, service, "queue", events, "publish")

    async def settled() -> bool:
        async with service.module.connect() as db:
            return await (await db.execute("SELECT FROM queue")).fetchone() is None

    await until(settled, "every view to be taken from the queue")
    counted = sum((await service.call("views")).values())
    assert counted == len(events), "a view is missing, or counts twice"
    said = service.numbers()
    return {
        "confirmed": said["confirmed"],
        "again": said["failures"],
        "counted": counted,
        "gap": said["gap"],
    }


@trial(
    "postgresql",
    "{confirmed} uploads were confirmed, and the event of each was received, in their order;"
    " received a second time: {again}. Meanwhile no event was received for {gap} s.",
    by_hand=PROMOTED,
)
async def transactional_outbox(cluster: PostgresqlCluster, service: Service) -> Numbers:
    await service.call("declare")
    service.keep("receive", handle=service.take)
    names = [f"{number}.mp4" for number in range(ITEMS)]
    # A commit without an answer may have been one: then the name is there, and its event too.
    service.there = (UniqueViolation,)
    await send_and_kill(cluster, service, "queue", names, "upload")
    events = [f"uploaded {name}" for name in names]
    await holds(partial(all_done, service, events), "the event of each upload to be received")
    assert list(service.counted) == events, "an event has overtaken another"
    return service.numbers()


@trial(
    "rabbitmq",
    "Of {confirmed} confirmed messages, {good} were done, and {dead} that can't be done were in the"
    " dead letter channel: none is missing. Done a second time: {again}.",
)
async def dead_letter_channel(cluster: RabbitmqCluster, service: Service) -> Numbers:
    async def transcode(video: str) -> None:
        if "broken" in video:
            raise ValueError(video)
        service.note(video)

    await service.call("declare")
    for worker in WORKERS:
        service.keep("work", worker=worker, handle=transcode)
    names = [f"{'broken' if number % 5 == 0 else 'video'}-{number}" for number in range(ITEMS)]
    messages = [json.dumps({"video": name}) for name in names]
    await send_and_kill(cluster, service, service.module.QUEUE, messages, "submit")
    good = {name for name in names if "broken" not in name}
    broken = {message for message in messages if "broken" in message}
    await holds(lambda: good <= service.counted.keys(), "every good message to be done")

    async def buried() -> bool:
        return broken <= {body for body, *_ in await service.call("dead")}

    await until(buried, "every broken message to be a dead letter")
    dead = {body for body, *_ in await service.call("dead")}
    assert dead == broken, "a good message is dead"
    return service.numbers() | {"good": len(good), "dead": len(dead)}


@trial(
    "rabbitmq",
    "{confirmed} messages were confirmed. The handler failed on the first delivery of each, and"
    " every one was done after its delay, and none was dead; done a second time: {again}."
    " Meanwhile none was done for {gap} s.",
)
async def delayed_retry(cluster: RabbitmqCluster, service: Service) -> Numbers:
    tried: set[str] = set()

    async def transcode(video: str) -> None:
        if video not in tried:
            tried.add(video)
            raise ValueError(video)
        service.note(video)

    await service.call("declare")
    for worker in WORKERS:
        service.keep("work", worker=worker, handle=transcode)
    names = videos("video")
    messages = [json.dumps({"video": name}) for name in names]
    await send_and_kill(cluster, service, service.module.QUEUE, messages, "submit")
    await holds(partial(all_done, service, names), "every message to be done")
    assert await service.call("dead") == []
    return service.numbers()


@trial(
    "rabbitmq",
    "{confirmed} tasks were confirmed, {old} of them with an expiration of {life} s, which passed"
    " while the old leader was dead. None of these was done, and each of the others was; done a"
    " second time: {again}.",
)
async def message_expiration(cluster: RabbitmqCluster, service: Service) -> Numbers:
    life = 6
    old, fresh = [f"old {number}" for number in range(20)], videos("push")
    await service.call("declare")
    leader = await cluster.leader(service.module.QUEUE)
    killing = asyncio.create_task(kill_for_a_while(cluster, leader, service))
    await service.send(old, "submit", seconds=life)
    sending = asyncio.create_task(service.send(fresh, "submit", seconds=3600))
    await asyncio.sleep(life + 1)
    for worker in WORKERS:
        service.keep("work", worker=worker, handle=service.take)
    await asyncio.gather(killing, sending)
    await holds(partial(all_done, service, fresh), "every task that has not expired to be done")
    assert service.counted.keys() == {*fresh}, "a task was done that had expired"
    return service.numbers() | {"old": len(old), "life": life}


@trial(
    "rabbitmq",
    "{confirmed} tasks were confirmed by a queue that takes {most}, and each was done; done a"
    " second time: {again}. Its producer, which is faster than its workers, waited meanwhile.",
)
async def backpressure(cluster: RabbitmqCluster, service: Service) -> Numbers:
    async def transcode(task: str) -> None:
        await asyncio.sleep(0.25)
        service.note(task)

    await service.call("declare")
    for worker in WORKERS:
        service.keep("work", worker=worker, handle=transcode)
    tasks = videos("transcode")
    await send_and_kill(cluster, service, service.module.QUEUE, tasks, "submit")
    await holds(partial(all_done, service, tasks), "every confirmed task to be done")
    return service.numbers() | {"most": service.module.LIMIT}


@trial(
    "kafka",
    "{confirmed} events were confirmed. The state of a reader that followed them, and that of a"
    " replay from the start, had each of them once. Meanwhile no event was read for {gap} s.",
    by_hand="The topic had been made with three replicas and `min.insync.replicas=2`, as the"
    " snippet would make one with one replica.",
)
async def event_replay(cluster: KafkaCluster, service: Service) -> Numbers:
    topic = service.module.VIEWS.topic
    await cluster.create(topic, min_insync_replicas="2", retention_ms="-1")
    live = str(Path.cwd() / "live")
    await service.call("replay", file=live)
    service.keep("follow", file=live, handle=service.take)
    events = [json.dumps({"video": f"{number}", "country": "AT"}) for number in range(ITEMS)]
    await send_and_kill(cluster, service, topic, events, "publish")
    await holds(partial(all_done, service, events), "every confirmed event to be read")
    state = (await service.call("replay", file=str(Path.cwd() / "new")))["views"]
    assert state == {f"{number}": 1 for number in range(ITEMS)}, "an event is missing, or twice"
    followed = json.loads(await asyncio.to_thread(Path(live).read_text))["views"]
    assert followed == state
    return service.numbers()


@trial(
    "kafka",
    "{confirmed} tasks were confirmed, and every one was done, those of each video in their order;"
    " done a second time: {again}. Meanwhile no task was done for {gap} s.",
    by_hand="The topic had been made with three replicas and `min.insync.replicas=2`, as the"
    " snippet would make one with one replica.",
)
async def partitioned_consumers(cluster: KafkaCluster, service: Service) -> Numbers:
    topic = service.module.CHANNEL
    await cluster.create(topic, min_insync_replicas="2")
    await service.call("declare")
    for worker in WORKERS:
        service.keep("work", worker=worker, handle=service.take)
    names = ("ant", "bee", "cat", "dog", "elk")
    tasks = [(names[n % len(names)], f"{n:03} {names[n % len(names)]}") for n in range(ITEMS)]
    await send_and_kill(cluster, service, topic, tasks, "submit")
    wanted = [task for _, task in tasks]
    await holds(partial(all_done, service, wanted), "every confirmed task to be done")
    for name in names:
        first = [task for task in service.counted if task.endswith(name)]
        assert first == sorted(first), "a task has overtaken another of its video"
    return service.numbers()
