"""Whether a mutant is noticed: by its snippets' output, by their claims, by their survival."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.candidates import Mutant
from tests.mutants.tester import Tester
from tests.snippets.running import SNIPPETS, companions, name

#: Tests of the modules that snippets share. Each is of one broker, and of all that uses it.
OWN = {
    "database.py": "tests/types/test_database.py",
    "kafka_client.py": "tests/types/test_kafka.py",
    "mqtt_session.py": "tests/types/test_mqtt_session.py",
    "nats_client.py": "tests/types/test_nats_client.py",
    "outbox.py": "tests/types/test_outbox.py",
    "rabbitmq_client.py": "tests/types/test_rabbitmq_client.py",
    "redis_client.py": "tests/types/test_redis_client.py",
}
#: Tests of a pattern on a broker that are no claims. Few patterns have some.
BESIDE = [
    f"tests/patterns/test_{one}.py"
    for one in (
        "at_the_limit",
        "beside_claims",
        "confirms",
        "letters",
        "malformed",
        "mqtt_faults",
        "not_subscribed",
    )
]
#: All that is of one broker only, of which not each test names its pattern.
FAULTS = "tests/patterns/test_mqtt_faults.py"
#: All snippets of a broker, when there is none.
WITHOUT = "tests/snippets/test_without_a_server.py"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


class NoProofError(Exception):
    """The tests say nothing of a mutant, because they did not run."""


def explained() -> list[dict[str, str]]:
    """Return the lines that nothing needs, each with its reason."""
    entries: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text())["line"]
    return entries


def fits(entry: dict[str, str], mutant: Mutant) -> bool:
    """Tell whether an entry of the list is about this mutant."""
    return (
        entry["file"] == mutant.file
        and entry["taken"] == mutant.taken
        and entry.get("instead", mutant.instead) == mutant.instead
    )


def rounds_for(file: str, snippets: Sequence[str], *, survival: bool) -> list[list[str]]:
    """Return what pytest is told for each round, the quickest first."""
    own = [OWN[file]] if file in OWN else []
    keys = sorted({Path(path).stem.removeprefix("on_") for path in snippets})
    outputs = [f"tests/snippets/output.py::test_output[{path}]" for path in snippets]
    claims = [f"tests/patterns/test_{Path(path).parent.name}.py" for path in snippets]
    which = f"({' or '.join(keys)}) and not without-its-line"
    proofs = [*dict.fromkeys(claims), "-k", which]
    topics = sorted({Path(path).parent.name for path in snippets})
    beside = [*BESIDE, "-k", f"({' or '.join(keys)}) and ({' or '.join(topics)})"]
    if own:
        rounds = [outputs, own, [WITHOUT, "-k", " or ".join(keys)], beside, proofs]
    else:
        shared = [companions(SNIPPETS / path) for path in snippets]
        clients = {OWN.get(name(each), "") for its in shared for each in its} - {""}
        rounds = [[*outputs, *proofs], beside, *([tests] for tests in sorted(clients))]
    if "mqtt" in keys:
        rounds.append([FAULTS])
    if survival:
        rounds += [["tests/survival/test_survival.py", "-k", key] for key in keys]
    return rounds


class Trials:
    """Trials of one mutant after another, in one process."""

    def __init__(self, tester: Tester) -> None:
        self._tester = tester
        #: Tests that failed for a mutant, and whether they pass on the snippet as it is.
        self._sound: dict[str, bool] = {}

    def noticed_by(
        self, mutant: Mutant, snippets: Sequence[str], *, survival: bool = False
    ) -> str | None:
        """Return the test that notices the mutant; None when it survives."""
        wanted = snippets[0].removesuffix(".py") if len(snippets) == 1 else ""
        for tests in rounds_for(mutant.file, snippets, survival=survival):
            run = self._tester.run(tests, mutant, wanted)
            if not (run.failed or run.passed or tests[0] in BESIDE):
                raise NoProofError(f"no test of {tests} ran\n{run.said}")
            if run.failed and not self._passes_as_it_is(run.failed):
                raise NoProofError(f"{run.failed} fails on the snippet as it is")
            if run.failed:
                return run.failed
        return None

    def _passes_as_it_is(self, test: str) -> bool:
        """Tell whether a test passes on the snippet as it is; one that does not notices nothing."""
        if "tests/survival" in test:
            return True
        if test not in self._sound:
            run = self._tester.run([test], None)
            self._sound[test] = bool(run.passed) and not run.failed
        return self._sound[test]
