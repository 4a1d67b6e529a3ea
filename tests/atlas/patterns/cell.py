"""One trial, inside: a cluster, a pattern's snippet at work, the leader killed, a line of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from typing import Any

from tests.atlas.patterns.service import Service
from tests.atlas.patterns.stage import ENVIRONMENT, cluster_of
from tests.atlas.patterns.trials import TRIALS
from tests.brokers.cluster.inside import PLACE, enter
from tests.records import clients


async def run(pattern: str) -> dict[str, Any]:
    """Return what was seen, on what, and how long it took."""
    began, trial = time.monotonic(), TRIALS[pattern]
    cluster, service = cluster_of(trial.broker), None
    try:
        await cluster.start()
        service = Service(pattern, trial.broker, ENVIRONMENT[trial.broker])
        seen = await trial.run(cluster, service)
        await service.end()
    except Exception:
        print(cluster.logs(), service and vars(service), sep="\n", file=sys.stderr)
        raise
    return {
        "pattern": pattern,
        "server": await cluster.version(),
        "client": clients()[trial.broker],
        "took": round(time.monotonic() - began),
        "seen": {name: seen[name] for name in trial.names()},
    }


if __name__ == "__main__":
    enter()
    os.chdir(PLACE)
    # Clients tell of each lost connection.
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(run(*sys.argv[1:]))), flush=True)
