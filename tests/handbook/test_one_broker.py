"""Which parts of a page are marked as one broker's."""

from __future__ import annotations

import re
from textwrap import dedent

import markdown
import pytest
from markdown import Extension

from handbook.brokers import BROKERS, leading
from handbook.one_broker import OneBrokerExtension
from tests.site.conftest import DOCS


def built(text: str) -> str:
    extensions: list[str | Extension] = [
        "tables",
        "attr_list",
        "toc",
        "footnotes",
        OneBrokerExtension(),
    ]
    return markdown.markdown(dedent(text), extensions=extensions)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Kafka, MQTT", ["kafka", "mqtt"]),
        ("Redis 8.0.2, PostgreSQL 17, as in the snippets", ["redis", "postgresql"]),
        ("RabbitMQ, quorum queue", ["rabbitmq"]),
        ("NATS (core)", ["nats"]),
        ("MQTT (Mosquitto)", ["mqtt"]),
        ("Mosquitto and NATS JetStream", ["mqtt", "nats"]),
        ("Kafkaesque", []),
        ("a queue on RabbitMQ", []),
    ],
)
def test_a_text_begins_with_names(text: str, keys: list[str]) -> None:
    assert leading(text) == keys


def test_rows_of_a_comparison_are_marked() -> None:
    html = built("""
        # Page

        | Broker | Limit |
        |---|---|
        | RabbitMQ | 1 |
        | Kafka, NATS | 2 |
    """)
    assert 'data-on="rabbitmq kafka nats"' in html
    assert '<table data-of="rabbitmq kafka nats">' in html
    assert '<tr data-for="kafka nats">' in html


def test_a_table_of_other_things_is_not() -> None:
    """One row that begins with a broker's name is no comparison."""
    html = built("""
        # Page

        | Protocol | Since |
        |---|---|
        | AMQP | 2006 |
        | STOMP | 2005 |
        | MQTT | 1999 |
    """)
    assert "data-for" not in html
    assert "broker-switch" not in html


def test_columns_are_marked() -> None:
    html = built("""
        # Page

        | After a crash | RabbitMQ, NATS | Kafka |
        |---|---|---|
        | comes again | one | all |
    """)
    assert html.count('data-for="rabbitmq nats"') == html.count('data-for="kafka"') == 2


def test_items_and_sections_are_marked() -> None:
    html = built("""
        # Page

        - **Kafka: commit later.** Why.
        - **The order is gone** on RabbitMQ.

        ## RabbitMQ

        One.[^1]

        ### Deeper

        ## Kafka

        Two.

        [^1]: A note.
    """)
    assert re.search(r'<li data-for="kafka">', html)
    assert "<li>\n<strong>The order" in html.replace("<li><strong>", "<li>\n<strong>")
    assert '<h3 data-for="rabbitmq" id="deeper">' in html
    assert '<p data-for="kafka">Two.</p>' in html
    assert '<div class="footnote">' in html


def test_the_style_sheet_knows_each_broker() -> None:
    sheet = (DOCS / "assets/css/broker.css").read_text()
    for broker in BROKERS:
        assert sheet.count(f'[data-broker="{broker.key}"]') == 3


def test_a_block_below_a_brokers_heading_is_hidden_with_its_section() -> None:
    """A paragraph around it would end where it begins, and hide nothing."""
    html = built("# T\n\n## Kafka\n\n<div>a table</div>\n\n## Redis\n\ntext\n")
    assert re.search(r'<div data-for="kafka">\s*<div>a table</div>\s*</div>', html)
    assert "<p data-for" not in html.partition("Redis")[0]


def test_a_heading_that_begins_with_a_broker_is_hidden_with_its_section() -> None:
    html = built(
        "# T\n\n### Kafka: it deletes\n\nOne.\n\n### MQTT: it waits\n\nTwo.\n\n### Note: all\n"
    )
    assert '<h3 data-for="kafka"' in html
    assert '<p data-for="mqtt">Two.</p>' in html
    assert '<h3 id="note-all"' in html
