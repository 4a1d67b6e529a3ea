"""The brokers that are asked."""

from __future__ import annotations

from tests.atlas.asked import Asked
from tests.atlas.on_kafka import AskedKafka
from tests.atlas.on_nats import AskedNats
from tests.atlas.on_postgresql import AskedPostgresql
from tests.atlas.on_rabbitmq import AskedRabbitmq
from tests.atlas.on_redis import AskedRedis

ASKED: dict[str, type[Asked]] = {
    asked.key: asked
    for asked in (AskedRabbitmq, AskedKafka, AskedNats, AskedRedis, AskedPostgresql)
}
