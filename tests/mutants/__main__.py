"""`make mutants`: take things away from the patterns' snippets at random; see what is noticed."""

from __future__ import annotations

import argparse
import random
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.mutants.candidates import Mutant, pool
from tests.mutants.trial import NoProofError, explained, fits, noticed_by


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=20, help="how many are drawn")
    parser.add_argument("--only", default="", help="part of the path of the snippets they are of")
    parser.add_argument("--survival", action="store_true", help="run the survival suite, too")
    parser.add_argument("--parallel", type=int, default=2)
    given = parser.parse_args()
    users = pool(given.only)
    drawn = random.Random(given.seed).sample([*users], min(given.number, len(users)))
    print(f"{len(drawn)} of {len(users)} mutants, seed {given.seed}", flush=True)
    count = dict.fromkeys(("noticed", "explained", "SURVIVED", "not tried"), 0)

    def verdict(mutant: Mutant) -> tuple[str, str]:
        try:
            if test := noticed_by(mutant, users[mutant], survival=given.survival):
                return "noticed", f"by {test}"
        except NoProofError as error:
            return "not tried", str(error)[-300:]
        reasons = (entry["reason"] for entry in explained() if fits(entry, mutant))
        reason = next(reasons, "")
        return ("explained" if reason else "SURVIVED"), reason

    with ThreadPoolExecutor(given.parallel) as threads:
        trials = {threads.submit(verdict, mutant): mutant for mutant in drawn}
        for trial in as_completed(trials):
            kind, why = trial.result()
            count[kind] += 1
            print(f"{kind}: {trials[trial]} {why}".rstrip(), flush=True)
    print(", ".join(f"{number} {kind}" for kind, number in count.items()), f"of {len(drawn)}")
    return 1 if count["SURVIVED"] or count["not tried"] else 0


if __name__ == "__main__":
    sys.exit(main())
