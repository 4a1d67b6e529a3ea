"""Topic router: who gets an event by its key, on every broker, wildcard by wildcard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Stage

PAGE = Path(__file__).parents[2] / "docs" / "patterns" / "topic-router.md"

#: The notations of the table, and the brokers that have another one than RabbitMQ's.
NOTATIONS = ("rabbitmq", "nats", "mqtt")
BROKERS = ("RabbitMQ", "NATS", "MQTT")

Answer = Literal["yes", "no", "refused"]
Answers = tuple[Answer, Answer, Answer]
YES: Answers = ("yes", "yes", "yes")
NO: Answers = ("no", "no", "no")

#: What is published, in this order. MQTT writes a slash for each dot.
KEYS = (
    "$video.uploaded.de",
    "video",
    "video.de",
    "video.4k",
    "video..de",
    "video.uploaded",
    "video.uploaded.DE",
    "video.transcoded.4k.de",
    "video.transcoded.en.4k",
    "video.uploaded.de",
)


@dataclass(frozen=True)
class Group:
    """A pattern in the three notations, and the keys that show what it means."""

    patterns: tuple[str, str, str]
    keys: dict[str, Answers]
    others: Answers = NO

    def answer(self, key: str, notation: int) -> Answer:
        """Return what happens to an event with this key."""
        return self.keys.get(key, self.others)[notation]


TABLE = (
    Group(
        ("video.*.de", "video.*.de", "video/+/de"),
        {
            "video.uploaded.de": YES,
            "video.de": NO,
            "video.transcoded.4k.de": NO,
            "video.uploaded.DE": NO,
            "video..de": ("yes", "refused", "yes"),
        },
    ),
    Group(
        ("video.#", "video.>", "video/#"),
        {
            "video": ("yes", "no", "yes"),
            "video..de": ("yes", "refused", "yes"),
            "$video.uploaded.de": ("no", "refused", "no"),
        },
        YES,
    ),
    Group(
        ("video.#.4k", "video.>.4k", "video/#/4k"),
        {
            "video.4k": ("yes", "refused", "refused"),
            "video.transcoded.en.4k": ("yes", "refused", "refused"),
        },
        ("no", "refused", "refused"),
    ),
    Group(
        ("video.up*", "video.up*", "video/up+"),
        {},
        ("no", "no", "refused"),
    ),
    Group(
        ("#", ">", "#"),
        {
            "$video.uploaded.de": ("yes", "refused", "no"),
            "video..de": ("yes", "refused", "yes"),
        },
        YES,
    ),
)

#: What lets many receivers share a process, each with its own connection: starting one costs more
#: than all that it does.
TOGETHER = """

async def with_its_connection(function, **arguments):
    from tests.patterns.home import opened

    async with opened(function, arguments) as needs:
        await function(*needs, **arguments)


async def subscribe_all(patterns):
    await asyncio.gather(*(
        with_its_connection(subscribe, receiver=one, patterns=[its])
        for one, its in patterns.items()
    ))


async def receive_all(receivers, handle):
    async def receive_as(receiver):
        async def note(key, body):
            await handle(key, body, receiver)

        await with_its_connection(receive, receiver=receiver, handle=note)

    await asyncio.gather(*map(receive_as, receivers))
"""

MATCHER = "the snippet compares, and skips"

OTHERS = "A receiver gets events whose key does not match its pattern."
COPIES = "The event that matches two patterns arrives twice."
UNTOLD = "The publisher is not told of the events that nobody gets."

#: In the place of a binding: for each pattern a queue, which passes all on to the receiver's.
MINI_OF_ITS_OWN = "BROKER.declare(pattern, ttl=1e-6, dead_letters=receiver)"
OF_ITS_OWN = (
    "own = await channel.declare_queue(durable=True, arguments={"
    '"x-message-ttl": 0, "x-dead-letter-exchange": receiver}); '
    "await own.bind(exchange, pattern); "
    'await queue.bind(await channel.declare_exchange(receiver, "fanout"))'
)


def notation(stage: Stage) -> int:
    return NOTATIONS.index(stage.key) if stage.key in NOTATIONS else 0


def answers(group: Group, column: int) -> list[Answer]:
    return [group.answer(key, column) for key in KEYS]


def spelt(stage: Stage, text: str) -> str:
    """Write a key, or a pattern in RabbitMQ's notation, as the broker wants it."""
    if stage.key == "mqtt":
        return text.replace(".", "/").replace("*", "+")
    return text.replace("#", ">") if stage.key == "nats" else text


def events(stage: Stage, *keys: str) -> list[tuple[str, str]]:
    return [(spelt(stage, key), f"about {key}") for key in keys]


def refused(stage: Stage, function: str, **arguments: Any) -> bool:
    """Whether the function fails, as it is expected to."""
    # With the mode "fail", an error is no sign that a changed snippet makes no sense.
    actor = stage.spawn(function, mode="fail", **arguments)
    assert stage.happens(lambda: actor.ended, actor)
    return bool(actor.error)


@claim(
    "Each receiver gets exactly the events whose key matches its pattern, row by row of the table "
    "of wildcards, also those published while it was away.",
    promise=True,
    seen=OTHERS,
    minibroker=holds("BROKER.bind(receiver, pattern)", 'BROKER.bind(receiver, "#")'),
    rabbitmq=holds("ExchangeType.TOPIC", "ExchangeType.FANOUT"),
    kafka=holds("if matching:", "if compiled:", with_help=f"{MATCHER}: a receiver reads all"),
    nats=holds("filter_subjects=sorted(both)", 'filter_subjects=[">"]'),
    redis=holds("if matching:", "if compiled:", with_help=f"{MATCHER}: a receiver reads all"),
    mqtt=holds("session.subscribe(pattern)", 'session.subscribe("#")'),
    postgresql=holds(
        "WHERE %(key)s || '.' ~ expression",
        "WHERE '' <> expression",
        with_help="a table of patterns, compared as the event is inserted",
    ),
)
def test_each_receiver_gets_what_matches(stage: Stage) -> None:
    stage.snippet.write_text(stage.snippet.read_text() + TOGETHER)
    column = notation(stage)
    refuses = [group for group in TABLE if not {*answers(group, column)} - {"refused"}]
    bound = {f"receiver-{n}": group for n, group in enumerate(TABLE) if group not in refuses}
    stage.call(
        "subscribe_all", patterns={name: group.patterns[column] for name, group in bound.items()}
    )

    everything = TABLE[-1]  # what is refused here is refused for its key, not for a pattern
    bad = [key for key in KEYS if everything.answer(key, column) == "refused"]
    for key in bad:
        assert refused(stage, "publish", events=events(stage, key))
    stage.call("publish", events=events(stage, *(key for key in KEYS if key not in bad)))

    wanted = {
        name: events(stage, *(key for key in KEYS if group.answer(key, column) == "yes"))
        for name, group in bound.items()
    }
    receivers = stage.spawn("receive_all", receivers=list(bound))

    def arrived(name: str) -> list[tuple[str, str]]:
        return [
            (key, body)
            for key, (body, receiver) in zip(receivers.taken, receivers.more, strict=False)
            if receiver == name
        ]

    def strangers(name: str) -> bool:
        return not {*arrived(name)} <= {*wanted[name]}

    assert stage.happens(
        lambda: all({*its} <= {*arrived(name)} for name, its in wanted.items()), receivers
    )
    assert stage.stays(lambda: not any(map(strangers, bound)), 0.5), OTHERS
    assert {name: arrived(name) for name in bound} == wanted
    for group in refuses:
        patterns = [group.patterns[column]]
        assert refused(stage, "subscribe", receiver="strange", patterns=patterns)


@claim(
    "An event that matches two patterns of one receiver arrives once.",
    seen=COPIES,
    minibroker=holds("BROKER.bind(receiver, pattern)", MINI_OF_ITS_OWN),
    rabbitmq=holds("await queue.bind(exchange, pattern)", OF_ITS_OWN),
    kafka=holds("if matching:", "for _ in matching:"),
    nats=differs("NATS 2.10 refuses two patterns of one receiver that can match the same key."),
    redis=holds("if matching:", "for _ in matching:"),
    mqtt=differs("Mosquitto delivers it to an MQTT 5 client once for each pattern."),
    postgresql=holds("SELECT DISTINCT receiver", "SELECT receiver"),
)
def test_two_matching_patterns_make_one_delivery(stage: Stage) -> None:
    patterns = [spelt(stage, one) for one in ("video.*.de", "video.uploaded.*")]
    refuses = stage.key == "nats" and stage.server and not stage.server.at_least(2, 15)
    if refuses:
        assert refused(stage, "subscribe", receiver="german", patterns=patterns)
        patterns = patterns[:1]
    stage.call("subscribe", receiver="german", patterns=patterns)
    # A second call adds to the first.
    stage.call("subscribe", receiver="german", patterns=[spelt(stage, "video.uploaded.fr.*")])
    keys = ("video.uploaded.de", "video.deleted.de", "video.uploaded.en", "video.uploaded.fr.4k")
    stage.call("publish", events=events(stage, *keys))
    both, first, second, added = (spelt(stage, key) for key in keys)
    wanted = [both, first, second, added]
    if refuses:
        wanted = [both, first, added]
    elif not stage.holds and stage.key != "nats":
        wanted = [both, both, first, second, added]
    receiver = stage.spawn("receive", receiver="german")
    assert stage.happens(lambda: {*wanted} <= {*receiver.done}, receiver)
    copies = wanted.count(both)
    assert stage.stays(lambda: receiver.taken.count(both) <= copies, 0.5), COPIES
    assert stage.happens(lambda: len(receiver.taken) >= len(wanted), receiver)
    assert stage.stays(lambda: receiver.taken == wanted, 0.5)


@claim(
    "The publisher learns which events match no pattern.",
    seen=UNTOLD,
    minibroker=holds("unheard.append(key)", "pass"),
    rabbitmq=holds("mandatory=True", "mandatory=False"),
    kafka=differs("Kafka keeps the record, and a pattern that is added later gets it."),
    nats=differs("The stream keeps the event, and a pattern that is added later gets it."),
    redis=differs("The stream keeps the entry, and a pattern that is added later gets it."),
    mqtt=holds("code.value != NOBODY", "code.value != -1"),
    postgresql=holds("if not added.rowcount:", "if added.rowcount is None:"),
)
def test_publisher_learns_that_nobody_listens(stage: Stage) -> None:
    stage.call("subscribe", receiver="german", patterns=[spelt(stage, "video.*.de")])
    keys = ("video.uploaded.en", "video.uploaded.de", "video.deleted")
    unheard = stage.call("publish", events=events(stage, *keys))
    english, german, deleted = (spelt(stage, key) for key in keys)
    if stage.holds:
        assert unheard == [english, deleted], UNTOLD
    else:
        assert unheard is None
    # What nobody got is gone, or it is in the log, and a pattern that comes later finds it.
    stage.call("subscribe", receiver="german", patterns=[spelt(stage, "video.*.en")])
    wanted = [german] if stage.holds else [english, german]
    receiver = stage.spawn("receive", receiver="german")
    assert stage.happens(lambda: len(receiver.done) >= len(wanted), receiver)
    assert stage.stays(lambda: receiver.taken == wanted, 0.5)


def rows() -> list[str]:
    """Return the table of wildcards as the page has it, with two columns for a phone."""
    lines = ["| Key | Arrives on |", "|---|---|"]
    for group in TABLE:
        taken = [
            column
            for column in range(len(BROKERS))
            if {group.answer(key, column) for key in KEYS} != {"refused"}
        ]
        patterns = [f"{BROKERS[column]} `{group.patterns[column]}`" for column in taken]
        patterns += [
            f"{name} refuses `{group.patterns[column]}`"
            for column, name in enumerate(BROKERS)
            if column not in taken
        ]
        lines.append(f"| *pattern* | {', '.join(patterns)} |")
        lines += [f"| `{key}` | {_where(group.keys[key], taken)} |" for key in group.keys]
        others = "every other key" if group.keys else "every key"
        lines.append(f"| {others} | {_where(group.others, taken)} |")
    return lines


def _where(answers: Answers, columns: list[int]) -> str:
    """Say in words on which of the brokers an event arrives."""
    arrives = [BROKERS[column] for column in columns if answers[column] == "yes"]
    refuses = [BROKERS[column] for column in columns if answers[column] == "refused"]
    where = ", ".join(arrives) or "none"
    if len(columns) > 1 and len(arrives) == len(columns):
        where = "all"
    return f"{where}; {', '.join(refuses)} refuses the key" if refuses else where


def test_the_page_has_the_table_that_is_proven() -> None:
    table = "\n".join(rows())
    assert table in PAGE.read_text(), f"docs/patterns/topic-router.md must have:\n{table}"
    assert {key for group in TABLE for key in group.keys} < set(KEYS)
