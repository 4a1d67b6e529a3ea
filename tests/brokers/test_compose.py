"""compose.yaml starts for readers what the tests ran on."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.brokers import SERVERS
from tests.records import VERSIONS

IMAGE = re.compile(r"^  (\w+):\n(?: {4}#.*\n)*    image: \S+:(\d+\.\d+)", re.MULTILINE)


def test_the_images_are_of_the_recorded_versions() -> None:
    text = (Path(__file__).parents[2] / "compose.yaml").read_text()
    recorded = json.loads(VERSIONS.read_text())
    servers = {key: recorded[key]["server"].split()[-1] for key in SERVERS}
    assert dict(IMAGE.findall(text)) == {
        key: ".".join(version.split(".")[:2]) for key, version in servers.items()
    }
