"""Say what a Kafka cluster may use, as `kafka-features.sh` does: aiokafka has no call for it."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

UPGRADE, SAFE_DOWNGRADE = 1, 2


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 57
    API_VERSION = 2
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", CompactString("utf-8")),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 57
    API_VERSION = 2
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("timeout_ms", Int32),
        (
            "updates",
            CompactArray(
                ("feature", CompactString("utf-8")),
                ("level", Int16),
                ("type", Int8),
                ("tags", TaggedFields),
            ),
        ),
        ("validate_only", Boolean),
        ("tags", TaggedFields),
    )


class _UpdateFeatures(Request[_Question]):  # type: ignore[misc]
    API_KEY = 57

    def __init__(self, levels: dict[str, int], kind: int) -> None:
        self.updates: list[tuple[str, int, int, dict[int, bytes]]] = [
            (feature, level, kind, {}) for feature, level in levels.items()
        ]

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class(30_000, self.updates, False, {})


async def finalise(
    admin: AIOKafkaAdminClient, levels: dict[str, int], kind: int = UPGRADE
) -> str | None:
    """Set these features of the cluster to these levels; return why it is refused, if it is."""
    answer = await admin._send_request(_UpdateFeatures(levels, kind))
    return answer.error_message if answer.error_code else None
