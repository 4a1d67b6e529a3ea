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
        self.order: dict[tuple[str, str], int] = {}
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
        self.order[topic, name] = claim["order"]
        self.proven[topic, name, key].append(passed)

    def settle(self, servers: dict[str, str]) -> tuple[list[str], list[str]]:
        """Write the files or compare with them; return what is wrong, and what is only to know."""
        if not self.claims:
            return [], []
        claims, versions = _read(CLAIMS), _read(VERSIONS)
        problems = [
            f"docs/data/claims.json does not say what this run showed: {name}"
            for (topic, name), entry in self.claims.items()
            if self._enter(claims.setdefault(topic, []), topic, name, entry)
        ]
        notices = []
        for key, now in self._versions(servers).items():
            before = versions.get(key, {})
            if before.get("client") != now["client"]:
                problems.append(f"docs/data/versions.json is behind the lock: {now['client']}")
            elif before["server"] != now["server"]:
                notices.append(f"recorded on {before['server']}, this run was on {now['server']}")
            versions[key] = now
        if self.update:
            for topic, entries in claims.items():
                entries.sort(key=lambda entry: self.order.get((topic, entry["id"]), 0))
            _write(CLAIMS, claims)
            _write(VERSIONS, {one.key: versions[one.key] for one in BROKERS if one.key in versions})
            return [], []
        return [f"{problem}; {AGAIN}" for problem in problems], notices

    def _enter(
        self, recorded: list[dict[str, Any]], topic: str, name: str, entry: dict[str, Any]
    ) -> bool:
        """Put a claim with its proofs among the recorded ones; tell whether it changes them."""
        proven = {
            broker.key: entry["brokers"][broker.key]
            for broker in BROKERS
            if all(self.proven.get((topic, name, broker.key), [False]))
        }
        known = next((one for one in recorded if one["id"] == name), {})
        before = known.get("brokers", {})
        brokers = {
            broker.key: (before | proven)[broker.key]
            for broker in BROKERS
            if broker.key in before | proven
        }
        fresh = {**entry, "brokers": brokers}
        if not brokers or known == fresh:
            return False
        if known:
            recorded.remove(known)
        recorded.append(fresh)
        return True

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
            if broker.key in servers
        }


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
