"""What the pages print of a run: docs/data/claims.json and docs/data/versions.json.

A claim is recorded for a broker only when its test passed there, and failed as it must on the
snippet without the line that carries it. `--update` writes the files, every other run compares.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from handbook.brokers import BROKERS

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data"
CLAIMS = DATA / "claims.json"
VERSIONS = DATA / "versions.json"
CLIENTS = {
    "rabbitmq": "aio-pika",
    "kafka": "aiokafka",
    "nats": "nats-py",
    "redis": "redis",
    "mqtt": "paho-mqtt",
    "postgresql": "psycopg",
}
AGAIN = "run `make record`, and read the difference before you commit it"


def clients() -> dict[str, str]:
    """Return the name and version of each broker's Python client."""
    found = {key: f"{name} {importlib.metadata.version(name)}" for key, name in CLIENTS.items()}
    return {"minibroker": "Python's standard library", **found}


class Record:
    """The claims of one run, from the reports of their tests."""

    def __init__(self, config: pytest.Config) -> None:
        self.update = bool(config.getoption("--update"))
        self.claims: dict[tuple[str, str], dict[str, Any]] = {}
        self.proven: dict[tuple[str, str, str], list[bool]] = defaultdict(list)

    def note(self, properties: dict[str, object], *, passed: bool) -> None:
        """Take in one report; `properties` are what the claim's test said of itself."""
        claim = properties.get("claim")
        if not isinstance(claim, dict):
            return
        topic, name, key = claim["topic"], claim["id"], str(properties["broker"])
        entry = self.claims.setdefault(
            (topic, name),
            {"id": name, "claim": claim["claim"], "test": claim["test"], "brokers": {}},
        )
        entry["brokers"][key] = claim["proof"]
        self.proven[topic, name, key].append(passed)

    def settle(self, servers: dict[str, str]) -> list[str]:
        """Write the files or compare with them; return what does not agree, a line each."""
        if not self.claims:
            return []
        recorded = _read(CLAIMS)
        problems = []
        for (topic, name), entry in self.claims.items():
            proven = {
                broker.key: entry["brokers"][broker.key]
                for broker in BROKERS
                if all(self.proven.get((topic, name, broker.key), [False]))
            }
            known = next((one for one in recorded.get(topic, []) if one["id"] == name), None)
            fresh = {**entry, "brokers": {**(known or {}).get("brokers", {}), **proven}}
            if known != fresh:
                problems.append(f"docs/data/claims.json does not say what this run showed: {name}")
                _replace(recorded.setdefault(topic, []), fresh)
        versions = _read(VERSIONS)
        fresh_versions = {**versions, **self._versions(servers)}
        for key, versions_now in fresh_versions.items():
            if versions.get(key, {}).get("client") != versions_now["client"]:
                problems.append(f"docs/data/versions.json is behind the lock: {key}")
        if not self.update:
            return [f"{problem}; {AGAIN}" for problem in problems]
        _write(CLAIMS, recorded)
        _write(VERSIONS, fresh_versions)
        return []

    @staticmethod
    def _versions(servers: dict[str, str]) -> dict[str, dict[str, str]]:
        of_clients = clients()
        return {
            broker.key: {
                "server": "minibroker.py"
                if broker.key == "minibroker"
                else servers[broker.key].split(" (")[0],
                "client": of_clients[broker.key],
            }
            for broker in BROKERS
            if servers.get(broker.key, "-") != "-"
        }


def _replace(entries: list[dict[str, Any]], fresh: dict[str, Any]) -> None:
    for index, entry in enumerate(entries):
        if entry["id"] == fresh["id"]:
            entries[index] = fresh
            return
    entries.append(fresh)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
