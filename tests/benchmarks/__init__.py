"""What publishing safely costs on each broker: `make benchmark` records it for the lab.

A broker's file has one function for each thing that a confirm can mean there, and the list of its
settings. measure.py has the ways to publish, which are the same for all, and the clock.
"""

from __future__ import annotations

from tests.benchmarks import kafka, mqtt, nats, postgresql, rabbitmq, redis
from tests.benchmarks.measure import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    one.key: one
    for one in (
        rabbitmq.BENCHMARK,
        kafka.BENCHMARK,
        nats.BENCHMARK,
        redis.BENCHMARK,
        mqtt.BENCHMARK,
        postgresql.BENCHMARK,
    )
}
