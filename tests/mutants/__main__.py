"""`make mutants`: take things away from the patterns' snippets at random; see what is noticed."""

from __future__ import annotations

import argparse
import queue
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack

from tests.mutants.candidates import Mutant, draw, pool
from tests.mutants.score import Notes, record
from tests.mutants.tester import started
from tests.mutants.trial import NoProofError, Trials, explained, fits


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=20, help="how many are drawn")
    parser.add_argument("--only", default="", help="part of the path of the snippets they are of")
    parser.add_argument("--survival", action="store_true", help="run the survival suite, too")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write the score into docs/data")
    given = parser.parse_args()
    users = pool(given.only)
    drawn = draw(users, given.seed, given.number)
    print(f"{len(drawn)} of {len(users)} mutants, seed {given.seed}", flush=True)
    verdicts: dict[str, list[str]] = {
        kind: [] for kind in ("noticed", "explained", "SURVIVED", "not tried")
    }
    notes = Notes()
    idle = queue.Queue[Trials]()

    def verdict(mutant: Mutant) -> tuple[str, str]:
        if test := notes.of(mutant):
            return "noticed", test
        for entry in explained():
            if fits(entry, mutant):
                return "explained", entry["reason"]
        trials = idle.get()
        try:
            if test := trials.noticed_by(mutant, users[mutant], survival=given.survival):
                return "noticed", test
        except NoProofError as error:
            return "not tried", str(error)[-300:]
        finally:
            idle.put(trials)
        return "SURVIVED", ""

    with ExitStack() as stack:
        for _ in range(given.parallel):
            idle.put(Trials(stack.enter_context(started())))
        threads = stack.enter_context(ThreadPoolExecutor(given.parallel))
        trials = {threads.submit(verdict, mutant): mutant for mutant in drawn}
        for trial in as_completed(trials):
            kind, why = trial.result()
            verdicts[kind].append(str(trials[trial]))
            if kind == "noticed":
                notes.keep(trials[trial], why)
            print(f"{kind}: {trials[trial]} {why}".rstrip(), flush=True)
    print(", ".join(f"{len(those)} {kind}" for kind, those in verdicts.items()))
    if given.record:
        record(given.seed, len(users), verdicts)
    return 1 if verdicts["SURVIVED"] or verdicts["not tried"] else 0


if __name__ == "__main__":
    sys.exit(main())
