"""The closing table: what was proven on which version of which broker, and what was not."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from handbook.brokers import BROKERS, SUBSTITUTES, Broker
from tests.atlas.single.record import Trials
from tests.brokers.generations import NEWEST, Generation, wanted
from tests.records import Record
from tests.survival.record import Survival

RECORD_STABLE = "GENERATION=stable make record ARGS=tests/patterns"
#: A line of the table, and its colours.
Line = tuple[str, list[str]]


class Report:
    """Gathers each test's outcome under its broker, and the claims that held."""

    def __init__(
        self, config: pytest.Config, generation: Generation, *, update: bool, required: bool
    ) -> None:
        self.generation = generation
        self.record = Record(update=update, newest=generation is NEWEST)
        self.survival = Survival(update=update)
        self.trials = Trials(update=update)
        self.required = required
        self.only_servers: bool = config.option.servers
        self.table: Path | None = config.option.table
        self.failed: list[str] = []
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.reasons: dict[str, set[str]] = defaultdict(set)
        self.servers: dict[str, str] = {}
        self.problems: list[str] = []
        self.notices: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        properties = dict(report.user_properties)
        key = properties.get("broker")
        if not isinstance(key, str) or (report.when != "call" and report.passed):
            return
        self.outcomes[key][report.outcome] += 1
        if key == "minibroker":
            self.servers[key] = "in the test's own process"
        elif "server" in properties:
            self.servers[key] = str(properties["server"])
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[key].add(report.longrepr[2].removeprefix("Skipped: "))
        self.record.note(properties, report.outcome)
        if report.when == "call":
            self.survival.note(properties)
            self.trials.note(properties, report.outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            return
        interrupted = session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        self.problems, self.notices = self.record.settle(self.servers, interrupted=interrupted)
        if self.generation is NEWEST:
            problems, notices = self.survival.settle()
            self.problems += problems
            self.notices += notices
            self.trials.settle()
        if self.required and self.outcomes and self._whole_run(session):
            self.problems += [
                f"{broker.label}: no test passed, and BROKERS=required"
                for broker in self._shown()
                if not self.outcomes[broker.key]["passed"]
            ]
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @staticmethod
    def _whole_run(session: pytest.Session) -> bool:
        options = session.config.option
        return not (
            options.keyword or options.markexpr or session.config.args_source.name == "ARGS"
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.outcomes:
            return
        lines = [*self._lines_before(), *self._lines()]
        if self.table:
            self.table.parent.mkdir(parents=True, exist_ok=True)
            self.table.write_text(json.dumps(lines))
        write = terminalreporter
        write.section("brokers")
        write.line(f"{'broker':18} {'server':34} {'passed':>6} {'failed':>6} {'skipped':>7}")
        for text, colours in lines:
            write.line(text, **dict.fromkeys(colours, True))

    def _lines_before(self) -> list[Line]:
        """Return what the run before this one has shown: that of the other generation."""
        if not (self.only_servers and self.table and self.table.is_file()):
            return []
        before: list[Line] = json.loads(self.table.read_text())
        return before

    def _lines(self) -> list[Line]:
        """Return the closing table, each line with its colours."""
        lines: list[Line] = []
        for broker in self._shown():
            count = self.outcomes[broker.key]
            where = self.servers.get(broker.key, "-")
            lines.append(
                (
                    f"{broker.label:18} {where:34} {count['passed']:>6} {count['failed']:>6}"
                    f" {count['skipped']:>7}" + ("" if count["passed"] else "   NOT PROVEN"),
                    ["green"] if count["passed"] else ["red", "bold"],
                )
            )
            lines += [
                (f"    not proven: {reason}", ["red"])
                for reason in sorted(self.reasons[broker.key])
            ]
        record = "make record" if self.generation is NEWEST else RECORD_STABLE
        lines += [(f"{one}: `{record}` would record it", ["yellow"]) for one in self.notices]
        lines += [(one, ["red", "bold"]) for one in self.problems]
        if self.generation not in wanted()[:1]:
            missing = f"The {wanted()[0].name} servers are not here: run `make servers`."
            lines.append((f"{missing} The {self.generation.name} ones ran.", ["red", "bold"]))
        name = self.generation.name
        return lines + [(f"failed, {name}: {one}", ["red"]) for one in self.failed]

    def _shown(self) -> list[Broker]:
        brokers = [one for one in BROKERS if one.variable or not self.only_servers]
        return brokers + [one for one in SUBSTITUTES if self.outcomes.get(one.key)]
