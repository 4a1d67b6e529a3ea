"""Clusters for the patterns' snippets: their address, their replicas, and the leader's death."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats

from tests.atlas.patterns.service import Service
from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.inside import PLACE
from tests.brokers.cluster.kafka import BOOTSTRAP, KafkaCluster
from tests.brokers.cluster.machines import NUMBERS, address, machines, run
from tests.brokers.cluster.nats import NatsCluster
from tests.brokers.cluster.postgresql import PostgresqlCluster
from tests.brokers.cluster.rabbitmq import RabbitmqCluster

#: So many items are confirmed before the leader is killed, and confirmed and done until it is back.
SOME = 20
#: After so many seconds an operator promotes a standby of PostgreSQL.
WATCH = 3
HOSTS = ",".join(address(number) for number in NUMBERS)
#: The address of all three servers, as a snippet takes it from its environment.
ENVIRONMENT = {
    # One name with three addresses: the client takes the first that answers.
    "rabbitmq": {"RABBITMQ_URL": "amqp://guest:guest@rabbitmq/"},
    "kafka": {"KAFKA_BOOTSTRAP": BOOTSTRAP},
    "nats": {"NATS_URL": ",".join(f"nats://{address(number)}:4222" for number in NUMBERS)},
    "postgresql": {
        "DATABASE_URL": f"postgresql://postgres@{HOSTS}/postgres?target_session_attrs=read-write"
    },
}


def cluster_of(broker: str) -> Cluster:
    """Return a cluster on three machines, not started yet."""
    its = machines()
    match broker:
        case "rabbitmq":
            hosts = PLACE / "hosts-of-clients"
            hosts.write_text("".join(f"{address(number)} rabbitmq\n" for number in NUMBERS))
            run("mount", "--bind", str(hosts), "/etc/hosts")
            return RabbitmqCluster(its)
        case "kafka":
            return KafkaCluster(its)
        case "nats":
            return NatsCluster(its)
        case _:
            return PostgresqlCluster(its, synchronous_standby_names="ANY 1 (n1, n2, n3)")


async def replicate(stream: str, consumer: str) -> None:
    """Give a stream of NATS two more replicas, as an operator does; its consumer gets them too."""
    client = await nats.connect(ENVIRONMENT["nats"]["NATS_URL"].split(","))
    jetstream = client.jetstream(timeout=10)
    configuration = (await jetstream.stream_info(stream)).config
    configuration.num_replicas = len(NUMBERS)
    await jetstream.update_stream(configuration)

    async def there() -> bool:
        found = (
            (await jetstream.stream_info(stream)).cluster,
            (await jetstream.consumer_info(stream, consumer)).cluster,
        )
        replicas = [(one and one.replicas) or [] for one in found]
        return all(len(its) == 2 and all(each.current for each in its) for its in replicas)

    await until(there, f"NATS to have three replicas of {stream}")
    await client.close()


async def kill_for_a_while(cluster: Cluster, number: int, service: Service) -> None:
    """Kill the server on a machine at work; it comes back when the work goes on without it.

    A primary of PostgreSQL comes back as a standby, when its operator has promoted another.
    """
    await holds(lambda: len(service.confirmed) >= SOME, "the work to begin")
    cluster.machines[number].kill()
    confirmed, done = len(service.confirmed), len(service.done)
    if isinstance(cluster, PostgresqlCluster):
        await asyncio.sleep(WATCH)
        await cluster.promote()
    await holds(
        lambda: min(len(service.confirmed) - confirmed, len(service.done) - done) >= SOME,
        "the work to go on without the leader's server",
    )
    if not isinstance(cluster, PostgresqlCluster):
        cluster.machines[number].start()
    await cluster.whole()


async def holds(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""

    async def asked() -> bool:
        return condition()

    await until(asked, what)
