"""What the minibroker promises, each promise alone. No test sleeps: time is a number here."""

from __future__ import annotations

import ast
import asyncio
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from functools import wraps
from itertools import product
from math import inf
from typing import Any, ParamSpec

import pytest
from minibroker import DEAD_LETTERS, Broker, BrokerError, Consumer, Delivery, Event, matches

from tests.snippets.running import MINIBROKER

TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
P = ParamSpec("P")


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own; one that waits for ever fails."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), timeout=60))

    return run


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> Broker:
    """Return a broker with an empty queue `transcode`."""
    broker = Broker(clock)
    broker.declare("transcode")
    return broker


def submit(broker: Broker, *tasks: str) -> None:
    for task in tasks:
        assert broker.publish("transcode", task) == ["transcode"]


def ready(broker: Broker, queue: str = "transcode") -> list[str]:
    return [waiting.message.body for waiting in broker.queues[queue].ready]


async def take(consumer: Consumer, number: int) -> list[Delivery]:
    deliveries = aiter(consumer)
    return [await anext(deliveries) for _ in range(number)]


async def take_one(consumer: Consumer) -> Delivery:
    [delivery] = await take(consumer, 1)
    return delivery


async def turns() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


def watch(broker: Broker) -> list[Event]:
    events: list[Event] = []
    broker.observers.append(events.append)
    return events


def seen(events: list[Event]) -> list[tuple[str, str, str, int]]:
    return [(event.kind, event.place, event.client, event.number) for event in events]


# Acknowledgement


@asynchronous
async def test_messages_come_in_order_and_are_gone_once_acknowledged(broker: Broker) -> None:
    submit(broker, *TASKS)
    with broker.consume("transcode") as consumer:
        for task in TASKS:
            delivery = await take_one(consumer)
            assert (delivery.message.body, delivery.number) == (task, 1)
            delivery.ack()
    assert ready(broker) == []


@asynchronous
async def test_consumer_waits_until_something_is_published(broker: Broker) -> None:
    with broker.consume("transcode") as consumer:
        waiting = asyncio.create_task(take_one(consumer))
        await turns()
        assert not waiting.done()
        submit(broker, "cat.mp4")
        assert (await waiting).message.body == "cat.mp4"


@asynchronous
async def test_nack_puts_the_message_back_in_its_place_and_counts(broker: Broker) -> None:
    submit(broker, *TASKS)
    with broker.consume("transcode", prefetch=3) as consumer:
        cat, dog, owl = await take(consumer, 3)
        consumer.prefetch = 0  # nothing is handed over, so that what waits can be seen
        owl.nack()
        cat.nack()
        dog.nack()
        assert ready(broker) == TASKS
    with broker.consume("transcode", prefetch=4) as consumer:
        numbers = [delivery.number for delivery in await take(consumer, 4)]
    assert numbers == [2, 2, 2, 1]


@asynchronous
async def test_delivery_is_settled_once(broker: Broker) -> None:
    submit(broker, "cat.mp4")
    with broker.consume("transcode") as consumer:
        first = await take_one(consumer)
        first.nack()
        second = await take_one(consumer)
        with pytest.raises(BrokerError, match=r"settled once already: .*cat\.mp4"):
            first.ack()  # late: the message has been delivered anew
        second.ack()
        for again in (second.ack, second.nack):
            with pytest.raises(BrokerError, match="settled once already"):
                again()


@asynchronous
async def test_delivery_cannot_be_settled_when_its_consumer_has_gone(broker: Broker) -> None:
    submit(broker, "cat.mp4")
    with broker.consume("transcode") as consumer:
        late = await take_one(consumer)
    with pytest.raises(BrokerError, match="settled once already"):
        late.ack()
    assert ready(broker) == ["cat.mp4"]


# Prefetch and turns


@asynchronous
@pytest.mark.parametrize("prefetch", [1, 2, 3])
async def test_consumer_holds_no_more_than_its_prefetch(broker: Broker, prefetch: int) -> None:
    with broker.consume("transcode", prefetch=prefetch) as consumer:
        submit(broker, *TASKS)
        assert len(consumer.unacked) == prefetch
        assert ready(broker) == TASKS[prefetch:]
        (await take_one(consumer)).ack()
        assert len(consumer.unacked) == prefetch
        assert ready(broker) == TASKS[prefetch + 1 :]


@asynchronous
async def test_idle_consumers_take_turns(broker: Broker) -> None:
    with (
        broker.consume("transcode", "A", prefetch=9) as a,
        broker.consume("transcode", "B", prefetch=9) as b,
        broker.consume("transcode", "C", prefetch=9) as c,
    ):
        submit(broker, *"123456789")
        held = [[one.message.body for one in consumer.unacked] for consumer in (a, b, c)]
        assert held == [["1", "4", "7"], ["2", "5", "8"], ["3", "6", "9"]]


@asynchronous
async def test_busy_consumer_is_left_out(broker: Broker) -> None:
    with (
        broker.consume("transcode", "slow") as slow,
        broker.consume("transcode", "quick") as quick,
    ):
        submit(broker, *TASKS)
        done = []
        for _ in range(3):
            delivery = await take_one(quick)
            done.append(delivery.message.body)
            delivery.ack()
        assert done == TASKS[1:]
        assert [one.message.body for one in slow.unacked] == TASKS[:1]


@asynchronous
async def test_consumer_that_is_never_idle_lets_others_run(broker: Broker) -> None:
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    submit(broker, *map(str, range(100)))
    counting = asyncio.create_task(count())
    with broker.consume("transcode") as consumer:
        for delivery in await take(consumer, 1):
            delivery.ack()
        left = 99
        async for delivery in consumer:
            delivery.ack()
            left -= 1
            if not left:
                break
    counting.cancel()
    assert rounds >= 99


# Consumers that go


@asynchronous
@pytest.mark.parametrize("error", [None, RuntimeError, asyncio.CancelledError, KeyboardInterrupt])
async def test_leaving_gives_back_in_order(
    broker: Broker, error: type[BaseException] | None
) -> None:
    submit(broker, *TASKS)

    async def leave() -> None:
        with broker.consume("transcode", prefetch=3) as consumer:
            await take(consumer, 2)  # the third was handed over, and never looked at
            if error:
                raise error

    if error:
        with pytest.raises(error):
            await leave()
    else:
        await leave()
    assert ready(broker) == TASKS
    assert [waiting.number for waiting in broker.queues["transcode"].ready] == [1, 1, 1, 0]
    with broker.consume("transcode") as consumer:
        assert (await take_one(consumer)).number == 2


@asynchronous
async def test_cancelled_task_gives_back(broker: Broker) -> None:
    submit(broker, "cat.mp4")
    started = asyncio.Event()

    async def work() -> None:
        with broker.consume("transcode") as consumer:
            await take_one(consumer)
            started.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await started.wait()
    assert ready(broker) == []
    working.cancel()
    await asyncio.wait([working])
    assert ready(broker) == ["cat.mp4"]


@asynchronous
async def test_two_that_leave_restore_the_first_order(broker: Broker) -> None:
    with (
        broker.consume("transcode", "A", prefetch=2),
        broker.consume("transcode", "B", prefetch=2),
    ):
        submit(broker, *TASKS)
        assert ready(broker) == []
    assert ready(broker) == TASKS


@asynchronous
async def test_what_one_gives_back_goes_to_the_next_at_once(broker: Broker) -> None:
    with broker.consume("transcode", "B") as b:
        with broker.consume("transcode", "A") as a:
            submit(broker, "cat.mp4", "dog.mp4")
            [held_by_a] = a.unacked
            (await take_one(b)).ack()
        assert (await take_one(b)).message == held_by_a.message


# Dead letters


async def dead(broker: Broker, number: int = 1) -> list[tuple[str, str, str]]:
    """Take dead letters; return for each its body, its reason and its queue."""
    with broker.consume(DEAD_LETTERS, prefetch=number) as consumer:
        letters = [delivery.message for delivery in await take(consumer, number)]
        for delivery in list(consumer.unacked):
            delivery.ack()
    return [
        (letter.body, letter.headers["death_reason"], letter.headers["death_queue"])
        for letter in letters
    ]


@asynchronous
async def test_rejected_message_is_a_dead_letter(broker: Broker) -> None:
    broker.publish("transcode", "cat.txt", correlation_id="7")
    with broker.consume("transcode") as consumer:
        (await take_one(consumer)).nack(requeue=False)
    [letter] = broker.queues[DEAD_LETTERS].ready
    assert letter.message.headers["correlation_id"] == "7"
    assert await dead(broker) == [("cat.txt", "rejected", "transcode")]
    assert ready(broker) == []


@asynchronous
async def test_delivery_limit_ends_a_poison_message_and_no_other(broker: Broker) -> None:
    broker.declare("fragile", delivery_limit=3)
    broker.publish("fragile", "poison")
    broker.publish("fragile", "cat.mp4")
    tries = Counter[str]()
    with broker.consume("fragile") as consumer:
        async for delivery in consumer:
            tries[delivery.message.body] += 1
            if delivery.message.body == "cat.mp4":
                delivery.ack()
                break
            delivery.nack()
    assert tries == {"poison": 3, "cat.mp4": 1}
    assert await dead(broker) == [("poison", "delivery-limit", "fragile")]


@asynchronous
async def test_delivery_limit_counts_consumers_that_went(broker: Broker) -> None:
    broker.declare("fragile", delivery_limit=2)
    broker.publish("fragile", "poison")
    for _ in range(2):
        with broker.consume("fragile"):
            pass
    assert await dead(broker) == [("poison", "delivery-limit", "fragile")]


@asynchronous
async def test_queue_names_its_own_dead_letter_queue(broker: Broker) -> None:
    broker.declare("parked")
    broker.declare("notify", dead_letters="parked")
    broker.publish("notify", "cat.mp4")
    with broker.consume("notify") as consumer:
        (await take_one(consumer)).nack(requeue=False)
    assert ready(broker, "parked") == ["cat.mp4"]
    assert ready(broker, DEAD_LETTERS) == []


@asynchronous
async def test_dead_letter_is_not_lost_when_its_queue_is_missing(broker: Broker) -> None:
    broker.declare("notify", dead_letters="nowhere")
    broker.publish("notify", "cat.mp4")
    with broker.consume("notify") as consumer:
        (await take_one(consumer)).nack(requeue=False)
    assert await dead(broker) == [("cat.mp4", "rejected", "notify")]


@asynchronous
async def test_rejected_dead_letter_stays_a_dead_letter(broker: Broker) -> None:
    broker.publish(DEAD_LETTERS, "cat.mp4")
    with broker.consume(DEAD_LETTERS) as consumer:
        (await take_one(consumer)).nack(requeue=False)
    assert await dead(broker) == [("cat.mp4", "rejected", DEAD_LETTERS)]


# Expiry


@asynchronous
@pytest.mark.parametrize(
    ("queue_ttl", "message_ttl", "lives"), [(5, 9, 5), (9, 5, 5), (5, inf, 5), (inf, 5, 5)]
)
async def test_message_expires_after_the_shorter_time(
    broker: Broker, clock: Clock, queue_ttl: float, message_ttl: float, lives: float
) -> None:
    broker.declare("notify", ttl=queue_ttl)
    broker.publish("notify", "late", ttl=message_ttl)
    clock.now = lives - 0.1
    with broker.consume("notify") as consumer:
        assert len(consumer.unacked) == 1
    clock.now = lives
    with broker.consume("notify") as consumer:
        assert consumer.unacked == []
    assert await dead(broker) == [("late", "expired", "notify")]


@asynchronous
async def test_held_message_expires_when_it_comes_back(broker: Broker, clock: Clock) -> None:
    broker.publish("transcode", "cat.mp4", ttl=5)
    with broker.consume("transcode") as consumer:
        delivery = await take_one(consumer)
        clock.now = 6
        assert delivery in consumer.unacked
        delivery.nack()
        assert consumer.unacked == []
    assert await dead(broker) == [("cat.mp4", "expired", "transcode")]


@asynchronous
async def test_dead_letter_does_not_expire_again(broker: Broker, clock: Clock) -> None:
    broker.publish("transcode", "cat.mp4", ttl=5)
    clock.now = 5
    with broker.consume("transcode"):
        pass
    clock.now = 1e9
    assert await dead(broker) == [("cat.mp4", "expired", "transcode")]


@asynchronous
async def test_expiry_needs_no_consumer() -> None:
    broker = Broker()  # with the real clock: the wait ends when the alarm has rung
    broker.declare("retry", ttl=0.001, dead_letters="transcode")
    broker.declare("transcode", dead_letters="retry")
    broker.publish("transcode", "cat.mp4")
    with broker.consume("transcode") as consumer:
        (await take_one(consumer)).nack(requeue=False)
        again = await take_one(consumer)  # by way of the retry queue
        assert again.message.headers == {"death_reason": "expired", "death_queue": "retry"}
        again.ack()


# Routing

KEYS = [
    "",
    "video",
    "video.uploaded",
    "video.failed",
    "video.transcode.failed",
    "video.transcode.hd.failed",
    "audio.uploaded",
]
# A binding, and which of these keys match it.
BINDINGS = {
    "": [0],
    "*": [1],
    "#": [0, 1, 2, 3, 4, 5, 6],
    "#.#": [0, 1, 2, 3, 4, 5, 6],
    "*.#": [1, 2, 3, 4, 5, 6],
    "#.*": [1, 2, 3, 4, 5, 6],
    "video": [1],
    "video.uploaded": [2],
    "video.*": [2, 3],
    "video.#": [1, 2, 3, 4, 5],
    "*.uploaded": [2, 6],
    "#.failed": [3, 4, 5],
    "*.*.failed": [4],
    "video.*.failed": [4],
    "video.#.failed": [3, 4, 5],
    "#.transcode.#": [4, 5],
}


@pytest.mark.parametrize("pattern", BINDINGS)
def test_binding_takes_the_keys_that_match(pattern: str) -> None:
    broker = Broker()
    broker.declare("tap")
    broker.bind("tap", pattern)
    taken = [number for number, key in enumerate(KEYS) if "tap" in broker.publish(key, "body")]
    assert taken == BINDINGS[pattern]


def spelled_out(pattern: tuple[str, ...], key: tuple[str, ...]) -> bool:
    """Match by brute force: write `#` as every number of `*`, then compare equal lengths."""
    most = len(key) + 1
    for lengths in product(range(most), repeat=pattern.count("#")):
        left = iter(lengths)
        words = [one for word in pattern for one in (["*"] * next(left) if word == "#" else [word])]
        same_length = len(words) == len(key)
        if same_length and all(w in ("*", k) for w, k in zip(words, key, strict=True)):
            return True
    return False


def test_every_short_pattern_on_every_short_key() -> None:
    patterns = [p for size in range(4) for p in product("ab*#", repeat=size)]
    keys = [k for size in range(5) for k in product("ab", repeat=size)]
    wrong = [
        (pattern, key)
        for pattern, key in product(patterns, keys)
        if matches(list(pattern), list(key)) != spelled_out(pattern, key)
    ]
    assert wrong == []


def test_every_subscriber_gets_one_copy_however_many_bindings_match(broker: Broker) -> None:
    for subscriber in ("thumbnailer", "notifier"):
        broker.declare(subscriber)
        for pattern in ("video.#", "video.uploaded", "*.uploaded"):
            broker.bind(subscriber, pattern)
    assert broker.publish("video.uploaded", "cat.mp4") == ["thumbnailer", "notifier"]
    assert ready(broker, "thumbnailer") == ready(broker, "notifier") == ["cat.mp4"]


def test_unroutable_message_is_reported(broker: Broker) -> None:
    events = watch(broker)
    assert broker.publish("nowhere", "cat.mp4") == []
    assert [event.kind for event in events] == ["published", "unroutable"]


# The log


async def read(broker: Broker, number: int, group: str = "search", offset: int = -1) -> list[int]:
    records = broker.read("uploads", group, offset)
    return [(await anext(records)).id for _ in range(number)]


@pytest.fixture
def log(broker: Broker) -> Broker:
    assert [broker.append("uploads", task) for task in TASKS] == [0, 1, 2, 3]
    return broker


@asynchronous
async def test_every_group_reads_every_record_in_order(log: Broker) -> None:
    for group in ("search", "statistics"):
        assert await read(log, 4, group) == [0, 1, 2, 3]


@asynchronous
async def test_group_goes_on_after_what_it_committed(log: Broker) -> None:
    async for record in log.read("uploads", "search"):
        if record.id == 2:
            break  # a crash: record 2 was read, not committed
        log.commit("uploads", "search", record)
    assert await read(log, 2) == [2, 3]
    assert await read(log, 1, "statistics") == [0]


@asynchronous
async def test_replay_reads_all_again_and_moves_no_commit(log: Broker) -> None:
    log.commit("uploads", "search", log.logs["uploads"][2])
    assert await read(log, 4, offset=0) == [0, 1, 2, 3]
    assert await read(log, 1) == [3]


@asynchronous
async def test_reader_waits_at_the_end_of_the_log(log: Broker) -> None:
    waiting = asyncio.create_task(read(log, 1, offset=4))
    await turns()
    assert not waiting.done()
    log.append("uploads", "new.mp4")
    assert await waiting == [4]


@asynchronous
async def test_newer_reader_of_a_group_takes_over(log: Broker) -> None:
    old = log.read("uploads", "search")
    assert (await anext(old)).id == 0
    new = log.read("uploads", "search")
    assert (await anext(new)).id == 0
    assert await anext(old, None) is None  # it ends: it would share the group's work otherwise


# Bad input


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda broker: broker.consume("nowhere").__enter__(), "no queue 'nowhere' in"),
        (lambda broker: broker.bind("nowhere", "#"), "no queue 'nowhere' in"),
        (lambda broker: broker.consume("transcode", prefetch=0).__enter__(), "prefetch must be"),
        (lambda broker: broker.declare("other", ttl=0), "more than 0"),
        (lambda broker: broker.declare("other", delivery_limit=0), "more than 0"),
    ],
)
def test_mistake_is_explained(
    broker: Broker, mistake: Callable[[Broker], object], says: str
) -> None:
    with pytest.raises(BrokerError, match=says):
        mistake(broker)


def test_declaring_again_changes_nothing(broker: Broker) -> None:
    submit(broker, "cat.mp4")
    broker.declare("transcode")
    submit(broker, "dog.mp4")
    assert ready(broker) == ["cat.mp4", "dog.mp4"]


# Events


@asynchronous
async def test_observers_are_told_everything_in_order(broker: Broker, clock: Clock) -> None:
    events = watch(broker)
    submit(broker, "cat.mp4")
    with broker.consume("transcode", "A") as consumer:
        (await take_one(consumer)).nack()
        await take_one(consumer)
    with broker.consume("transcode", "B") as consumer:
        (await take_one(consumer)).ack()
    assert seen(events) == [
        ("published", "transcode", "", 0),
        ("routed", "transcode", "", 0),
        ("delivered", "transcode", "A", 1),
        ("requeued", "transcode", "A", 1),
        ("redelivered", "transcode", "A", 2),
        ("requeued", "transcode", "A", 2),
        ("redelivered", "transcode", "B", 3),
        ("acknowledged", "transcode", "B", 3),
    ]
    assert [event.reason for event in events if event.kind == "requeued"] == ["", "consumer gone"]
    events.clear()
    broker.publish("transcode", "late", ttl=1)
    clock.now = 1
    submit(broker, "next")
    assert seen(events)[2:5] == [
        ("published", "transcode", "", 0),
        ("routed", "transcode", "", 0),
        ("expired", "transcode", "", 0),
    ]
    assert seen(events)[5:] == [
        ("dead-lettered", "transcode", "", 0),
        ("routed", DEAD_LETTERS, "", 0),
    ]


@asynchronous
async def test_log_tells_its_observers(broker: Broker) -> None:
    events = watch(broker)
    broker.append("uploads", "cat.mp4", publisher="web")
    record = await anext(broker.read("uploads", "search"))
    broker.commit("uploads", "search", record)
    assert [event[:3] for event in events] == [
        ("appended", "uploads", ""),
        ("read", "uploads", "search"),
        ("committed", "uploads", "search"),
    ]
    assert events[0].message.headers == {"publisher": "web"}


# Nothing is lost, whatever the workers do


@asynchronous
async def test_without_faults_each_message_is_delivered_once() -> None:
    broker = Broker()
    broker.declare("transcode")
    events = watch(broker)
    submit(broker, *map(str, range(200)))
    shares = await asyncio.gather(*(honest(broker, name, prefetch=3) for name in "ABCD"))
    delivered = Counter(event.message.body for event in events if event.kind == "delivered")
    assert delivered == {str(number): 1 for number in range(200)}
    assert sum(shares) == 200
    assert max(shares) - min(shares) <= 3  # fair: they work equally fast


async def honest(broker: Broker, name: str, prefetch: int) -> int:
    done = 0
    with broker.consume("transcode", name, prefetch) as consumer:
        while broker.queues["transcode"].ready or consumer.unacked:
            (await take_one(consumer)).ack()
            done += 1
    return done


@pytest.mark.parametrize("seed", range(20))
@asynchronous
async def test_with_faults_each_message_ends_acknowledged_or_dead(seed: int) -> None:
    chance = random.Random(seed)
    broker = Broker()
    broker.declare("transcode", delivery_limit=4)
    events = watch(broker)
    tasks = [str(number) for number in range(60)]
    submit(broker, *tasks)

    def settled() -> Counter[str]:
        return Counter(
            e.message.body for e in events if e.kind in ("acknowledged", "dead-lettered")
        )

    async def faulty(name: str) -> None:
        while len(settled()) < len(tasks):
            with broker.consume("transcode", name, chance.randint(1, 5)) as consumer:
                for _ in range(chance.randint(0, 6)):
                    if not consumer.unacked:
                        break
                    delivery = await take_one(consumer)
                    match chance.choice(["ack", "ack", "nack", "reject", "wait"]):
                        case "ack":
                            delivery.ack()
                        case "nack":
                            delivery.nack()
                        case "reject":
                            delivery.nack(requeue=False)
                        case "wait":
                            break  # gone, with all that it holds
            await asyncio.sleep(0)

    await asyncio.gather(*map(faulty, "ABC"))
    assert settled() == dict.fromkeys(tasks, 1)
    assert len(ready(broker, DEAD_LETTERS)) == sum(e.kind == "dead-lettered" for e in events)
    assert ready(broker) == []
    held: dict[str, str] = {}
    last: dict[str, int] = defaultdict(int)
    for event in events:
        body = event.message.body
        if event.kind in ("delivered", "redelivered"):
            assert held.setdefault(body, event.client) == event.client, "two hold one message"
            assert event.number == last[body] + 1 <= 4
            last[body] = event.number
        elif event.kind in ("acknowledged", "requeued", "dead-lettered"):
            assert held.pop(body) == event.client


# The file itself


def test_it_serves_one_event_loop_after_another() -> None:
    broker = Broker()
    broker.declare("transcode")

    async def once() -> str:
        with broker.consume("transcode") as consumer:
            waiting = asyncio.create_task(take_one(consumer))
            await asyncio.sleep(0)
            submit(broker, "cat.mp4")
            delivery = await waiting
            delivery.ack()
            return delivery.message.body

    assert [asyncio.run(once()) for _ in range(3)] == ["cat.mp4"] * 3


def test_it_is_one_short_file_of_the_standard_library_that_a_browser_can_run() -> None:
    text = MINIBROKER.read_text()
    assert len(text.splitlines()) <= 250
    assert max(map(len, text.splitlines())) <= 79
    imported = {
        module
        for node in ast.walk(ast.parse(text))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert {module.split(".")[0] for module in imported} <= set(sys.stdlib_module_names)
    assert not imported & {"threading", "socket", "subprocess", "multiprocessing", "signal"}
