"""The closing table: what was proven on which version of which broker, and what was not."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from handbook.brokers import BROKERS
from tests.records import Record
from tests.survival.record import Survival


class Report:
    """Gathers each test's outcome under its broker, and the claims that held."""

    def __init__(self, config: pytest.Config, *, required: bool) -> None:
        self.record = Record(update=bool(config.getoption("--update")))
        self.survival = Survival(update=bool(config.getoption("--update")))
        self.required = required
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.reasons: dict[str, set[str]] = defaultdict(set)
        self.servers: dict[str, str] = {}
        self.problems: list[str] = []
        self.notices: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
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

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            return
        interrupted = session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        self.problems, self.notices = self.record.settle(self.servers, interrupted=interrupted)
        problems, notices = self.survival.settle()
        self.problems += problems
        self.notices += notices
        if self.required and self.outcomes and self._whole_run(session):
            self.problems += [
                f"{broker.label}: no test passed, and BROKERS=required"
                for broker in BROKERS
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
        write = terminalreporter
        write.section("brokers")
        write.line(f"{'broker':18} {'server':34} {'passed':>6} {'failed':>6} {'skipped':>7}")
        for broker in BROKERS:
            count = self.outcomes[broker.key]
            where = self.servers.get(broker.key, "-")
            markup = {"green": True} if count["passed"] else {"red": True, "bold": True}
            write.line(
                f"{broker.label:18} {where:34} {count['passed']:>6} {count['failed']:>6}"
                f" {count['skipped']:>7}" + ("" if count["passed"] else "   NOT PROVEN"),
                **markup,
            )
            for reason in sorted(self.reasons[broker.key]):
                write.line(f"    not proven: {reason}", red=True)
        for notice in self.notices:
            write.line(f"{notice}: `make record` would record it", yellow=True)
        for problem in self.problems:
            write.line(problem, red=True, bold=True)
