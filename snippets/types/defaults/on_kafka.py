# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""The defaults of a Kafka topic, as the server itself tells them."""

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from kafka_client import BOOTSTRAP, run

ASKED = {
    ConfigResourceType.TOPIC: [
        "retention.ms",
        "retention.bytes",
        "min.insync.replicas",
        "max.message.bytes",
        "unclean.leader.election.enable",
        "flush.messages",
    ],
    ConfigResourceType.BROKER: [
        "auto.create.topics.enable",
        "num.partitions",
        "default.replication.factor",
        "offsets.retention.minutes",
    ],
}


async def main() -> None:
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP) as producer:
        await producer.send_and_wait("videos", b"cat.mp4")
    print("published to a topic that nobody had created")

    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    try:
        cluster = await admin.describe_cluster()
        names = {
            ConfigResourceType.TOPIC: "videos",
            ConfigResourceType.BROKER: str(cluster["brokers"][0]["node_id"]),
        }
        for kind, keys in ASKED.items():
            asked = dict.fromkeys(keys, "")
            [answer] = await admin.describe_configs(
                [ConfigResource(kind, names[kind], asked)]
            )
            print(f"its {kind.name.lower()} says:")
            for _, _, _, _, entries in answer.resources:
                found = {key: value for key, value, *_ in entries}
                for key in keys:
                    print(f"  {key} = {found[key]}")
    finally:
        await admin.close()


if __name__ == "__main__":
    run(main)
