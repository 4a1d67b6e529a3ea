"""A body that is no text stops no consumer: its handler gets it, byte for byte, as any other.

The patterns whose consumers read more than a body have this among their claims.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import DiagnosticField

from handbook.brokers import BROKERS
from tests.brokers.postgresql import Postgresql
from tests.patterns.claims import Case, Proof
from tests.patterns.stage import Actor, Stage
from tests.patterns.test_topic_router import spelt
from tests.snippets.running import SNIPPETS, name

#: Added to a snippet's copy, whose publisher then sends a byte that UTF-8 does not have for "?",
#: and for "nothing" no body: on Kafka a tombstone, on Redis no field of the name that is expected.
RAW = """

def raw(text):
    return b"" if "nothing" in text else text.encode().replace(b"?", b"\\xff")


def named(field, text):
    return "thing" if "nothing" in text else field
"""
ENCODED = r"\b(task|event|body)\.encode\(\)"
CARELESS = {
    "minibroker": [
        (r"(BROKER\.publish\([^,]+, )(\w+)", r'\1raw(\2).decode(errors="surrogateescape")')
    ],
    "rabbitmq": [(ENCODED, r"raw(\1), headers={'x-delivery-count': 'many'}")],
    "kafka": [  # aiokafka sends no record that has neither key nor value
        (
            r"body\.encode\(\), key\.encode\(\)",
            "*((raw(body), None) if raw(body) else (None, b''))",
        ),
        (ENCODED + "(, key)", r"raw(\1) or None\2"),
        (ENCODED, r"raw(\1) or None, key=b'cat'"),
        ("headers=ttl", "headers=[('ttl', None)]"),
    ],
    "nats": [(ENCODED, r"raw(\1)"), ("headers=ttl", "headers={'TTL': 'soon'}")],
    "redis": [
        (r'"(task|event|body)": (\w+)', r'named("\1", \2): raw(\2)'),
        (r'"key": key, ', ""),
        (r'"ttl": seconds', '"ttl": "soon"'),
        (r"\[LIMIT, task\]", "[LIMIT, raw(task)]"),
        (r"'task', ARGV\[2\]", "ARGV[2] == '' and 'thing' or 'task', ARGV[2]"),
    ],
    "mqtt": [
        (r"((?:client|producer)\.publish\([^,]+, )(task|event|body)\b", r"\1raw(\2)"),
        (r'WORKERS = \("A", "B"\)', 'WORKERS = ("A",)'),
    ],
}

Call = tuple[str, dict[str, Any]]
SUBSCRIBER = {"subscriber": "notifier"}
DECLARE: Call = ("declare", {})
WORK: Call = ("work", {"worker": "A"})


def submit(stage: Stage, bodies: Sequence[str]) -> None:
    stage.call("submit", tasks=bodies)


def publish(stage: Stage, bodies: Sequence[str]) -> None:
    stage.call("publish", events=bodies)


def submit_with_key(stage: Stage, bodies: Sequence[str]) -> None:
    stage.call("submit", tasks=[("cat", body) for body in bodies])


def submit_with_time(stage: Stage, bodies: Sequence[str]) -> None:
    stage.call("submit", tasks=bodies, seconds=60)


def upload(stage: Stage, bodies: Sequence[str]) -> None:
    stage.call("upload", videos=bodies)
    stage.call("relay", limit=len(bodies))


def route(stage: Stage, bodies: Sequence[str]) -> None:
    key = spelt(stage, "video.uploaded.en")
    stage.call("publish", events=[(key, body) for body in bodies])


#: What comes before the first message, what sends messages, and what takes them.
PATTERNS: dict[str, tuple[Call, Callable[[Stage, Sequence[str]], None], Call]] = {
    "work_queue": (DECLARE, submit, WORK),
    "publish_subscribe": (("subscribe", SUBSCRIBER), publish, ("receive", SUBSCRIBER)),
    "partitioned_consumers": (("declare", {"partitions": 1}), submit_with_key, WORK),
    "backpressure": (DECLARE, submit, WORK),
    "message_expiration": (DECLARE, submit_with_time, WORK),
    "transactional_outbox": (DECLARE, upload, ("receive", {})),
    "topic_router": (
        ("subscribe", {"receiver": "archive", "patterns": ["#"]}),
        route,
        ("receive", {"receiver": "archive"}),
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            Case(broker.key, f"patterns/{pattern}", Proof(True, "", None, None), False),
            marks=pytest.mark.broker(broker.key),
            id=f"{pattern}-{broker.key}",
        )
        for pattern in PATTERNS
        for broker in BROKERS
    ],
)
def test_a_body_that_is_no_text(stage: Stage, case: Case) -> None:
    (declare, its), send, (consume, whose) = PATTERNS[case.topic.removeprefix("patterns/")]
    bodies = ["cat.mp4", "c?w.mp4", "nothing", "dog.mp4"]
    got = ["cat.mp4", "c\udcffw.mp4", "", "dog.mp4"]
    if isinstance(stage.server, Postgresql):
        bodies = got = ["cat.mp4", "dog.mp4"]
    else:
        text = stage.snippet.read_text()
        for careful, careless in CARELESS[stage.key]:
            text = re.sub(careful, careless, text)
        assert "raw(" in text
        stage.snippet.write_text(text + RAW)
    if stage.key == "nats" and "patterns" in its:
        its = its | {"patterns": [spelt(stage, "#")]}
    stage.call(declare, **its)
    send(stage, bodies)
    if isinstance(stage.server, Postgresql):
        refuses_what_is_no_text(stage.server)
    consumer = stage.spawn(consume, **whose, limit=len(bodies))
    assert stage.happens(lambda: consumer.ended, consumer)
    assert consumer.returned, consumer.error
    assert taken(consumer, with_key="receiver" in whose) == sorted(got)
    # All of it is settled: the next consumer gets what is new, and nothing else.
    send(stage, ["owl.mp4"])
    following = stage.spawn(consume, **whose, limit=1)
    assert stage.happens(lambda: following.ended, following)
    assert following.returned, following.error
    assert taken(following, with_key="receiver" in whose) == ["owl.mp4"]


def taken(consumer: Actor, *, with_key: bool) -> list[str]:
    """Return the bodies; without what an outbox writes in front, or Redis around an unknown one."""
    bodies = [more[0] for more in consumer.more] if with_key else consumer.taken
    return sorted(
        "" if "{'thing': ''" in body or "'thing': ''}" in body else body.removeprefix("uploaded ")
        for body in bodies
    )


def refuses_what_is_no_text(server: Postgresql) -> None:
    """Such a message does not come as far as the queue: no column takes it."""
    with psycopg.connect(server.address) as db:
        columns = db.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'text'"
        ).fetchall()
        assert columns
        for table, column in columns:
            update = f"UPDATE {table} SET {column} = $1"
            result = db.pgconn.exec_params(update.encode(), [b"c\xffw.mp4"])
            assert result.error_field(DiagnosticField.SQLSTATE) == b"22021"
            db.rollback()


@pytest.mark.parametrize(
    "snippet", sorted((SNIPPETS / "patterns").glob("*/on_postgresql.py")), ids=name
)
def test_no_table_takes_a_message_without_a_body(snippet: Path) -> None:
    """A reader that expects bytes or text would end at it, each time."""
    columns = re.findall(r"\b(?:body|event|message_id) (?:text|bytea)\b[^,)]*", snippet.read_text())
    assert all("NOT NULL" in column for column in columns), columns
