"""What the pages print of a run: docs/data/claims.json and docs/data/versions.json.

A claim is recorded for a broker only when its test passed there, and failed as it must on the
snippet without the line that carries it. `--update` writes what ran and nothing else, or, if a
claim's test failed or the run was interrupted, nothing at all. Every other run compares. What the
tests no longer have leaves the record.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    """The claims of one run, from the reports of their tests.

    They are recorded on the newest servers. Of stable ones, only the versions are.
    """

    def __init__(self, *, update: bool, newest: bool = True, root: Path = ROOT) -> None:
        self.update = update
        self.newest = newest
        self.root = root
        #: What the code says of a claim that ran, and which runs of it on a broker passed.
        self.claims: dict[tuple[str, str], dict[str, Any]] = {}
        self.runs: dict[tuple[str, str, str], dict[bool, bool]] = defaultdict(dict)
        self.failed: list[tuple[str, str]] = []

    def note(self, properties: dict[str, object], outcome: str) -> None:
        """Take in one report; `properties` are what the claim's test said of itself."""
        said = properties.get("claim")
        if not isinstance(said, dict):
            return
        claim = dict(said)
        topic, key, without = claim.pop("topic"), claim.pop("key"), claim.pop("without")
        self.claims[topic, claim["id"]] = claim
        self.runs[topic, claim["id"], key][without] = outcome == "passed"
        if outcome == "failed":
            self.failed.append((claim["id"], key))

    def settle(
        self, servers: dict[str, str], *, interrupted: bool = False
    ) -> tuple[list[str], list[str]]:
        """Write the files or compare with them; return what is wrong, and what is only to know."""
        if not self.claims:
            return [], []
        claims, versions = self._read(CLAIMS), self._read(VERSIONS)
        unknown = list(self._failed_on_unknown(versions, servers))
        if self.update and (interrupted or self.failed):
            failed = ", ".join(f"{name} on {key}" for name, key in self.failed)
            why = f"{failed} failed" if failed else "the run was interrupted"
            return [*unknown, f"docs/data/ has its claims and versions as they were: {why}"], []
        if not self.newest:
            return unknown, self._settle_stable(versions, servers)
        merged = self.merged(claims)
        problems = [
            f"docs/data/claims.json does not say what this run showed: {name}"
            for topic, name in self.claims
            if _entry(merged, topic, name) != _entry(claims, topic, name)
        ]
        notices = []
        for key, now in self._versions(servers).items():
            before = versions.get(key, {})
            if before.get("client") != now["client"]:
                problems.append(f"docs/data/versions.json is behind the lock: {now['client']}")
            elif before["server"] != now["server"]:
                notices.append(f"recorded on {before['server']}, this run was on {now['server']}")
            versions[key] = before | now
        if self.update:
            self._write(CLAIMS, merged)
            self._write(VERSIONS, _by_broker(versions))
            return [], []
        return [*unknown, *(f"{problem}; {AGAIN}" for problem in problems)], notices

    def _failed_on_unknown(
        self, versions: dict[str, Any], servers: dict[str, str]
    ) -> Iterator[str]:
        """Say which claim failed on a server that nobody has recorded: it may have changed."""
        which = "server" if self.newest else "stable"
        sentences = {name: claim["claim"] for (_, name), claim in self.claims.items()}
        now = self._versions(servers)
        for name, key in dict.fromkeys(self.failed):
            recorded = versions.get(key, {}).get(which)
            if key in now and now[key]["server"] != recorded:
                yield (
                    f"{name} fails on {now[key]['server']}, and {recorded} is what was recorded: "
                    f'"{sentences[name]}"'
                )

    def _settle_stable(self, versions: dict[str, Any], servers: dict[str, str]) -> list[str]:
        """Write which stable servers ran, or return what is to know of them."""
        notices = []
        for key, now in self._versions(servers).items():
            recorded = versions.setdefault(key, now).get("stable")
            if key != "minibroker" and recorded != now["server"]:
                versions[key]["stable"] = now["server"]
                notices.append(
                    f"recorded on {recorded or 'no server'}, this run was on {now['server']}"
                )
        if self.update and notices:
            self._write(VERSIONS, _by_broker(versions))
            return []
        return notices

    def merged(self, recorded: dict[str, Any]) -> dict[str, Any]:
        """Return the record with what this run proved in it, and without what is gone."""
        ran = {topic for topic, _ in self.claims}
        found = {}
        for topic in sorted({*recorded, *ran}):
            if topic not in ran and (self.root / _test_of(topic)).is_file():
                found[topic] = recorded[topic]
                continue
            known = {entry["id"]: entry for entry in recorded.get(topic, [])}
            entries = [
                self._entry(topic, name, known.get(name))
                for name in claims_of(self.root / _test_of(topic))
            ]
            if proven := [entry for entry in entries if entry]:
                found[topic] = proven
        return found

    def _entry(self, topic: str, name: str, known: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return what there is to record of a claim that the tests have; None if nothing."""
        claim = self.claims.get((topic, name))
        if not claim:
            return known
        before: dict[str, Any] = {}
        if known and known["claim"] == claim["claim"]:  # another sentence has other proofs
            before = {
                key: proof for key, proof in known["brokers"].items() if key in claim["brokers"]
            }
        fresh = {
            key: proof
            for key, proof in claim["brokers"].items()
            if self._is_proven(topic, name, key, proof)
        }
        brokers = _by_broker(before | fresh)
        return {**claim, "brokers": brokers} if brokers else None

    def _is_proven(self, topic: str, name: str, key: str, proof: dict[str, Any]) -> bool:
        """Tell whether all runs of a proof passed: with its line, and without it if it has one."""
        runs = self.runs.get((topic, name, key), {})
        return all(runs.get(without) for without in ((False, True) if proof["line"] else (False,)))

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

    def _read(self, name: Path) -> dict[str, Any]:
        file = self.root / name.relative_to(ROOT)
        content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return content

    def _write(self, name: Path, content: dict[str, Any]) -> None:
        file = self.root / name.relative_to(ROOT)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        new.replace(file)


def claims_of(file: Path) -> list[str]:
    """Return the names of a file's claims, from the first to the last; none if it is gone."""
    if not file.is_file():
        return []
    return [
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "claim"
    ]


def _test_of(topic: str) -> str:
    folder, _, name = topic.rpartition("/")
    return f"tests/{folder}/test_{name}.py"


def _entry(claims: dict[str, Any], topic: str, name: str) -> dict[str, Any] | None:
    return next((entry for entry in claims.get(topic, []) if entry["id"] == name), None)


def _by_broker(values: dict[str, Any]) -> dict[str, Any]:
    return {broker.key: values[broker.key] for broker in BROKERS if broker.key in values}
