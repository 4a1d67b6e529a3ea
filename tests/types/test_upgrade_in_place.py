"""A server is replaced by that of the newest generation, on the same data.

The work queue's snippets, as they are, are in the middle of their work meanwhile. Both generations
run here, whichever is chosen, so this has no broker's mark: it runs once in a run of both.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import SERVERS, Server, debian
from tests.brokers.generations import NEWEST, STABLE, Generation
from tests.brokers.kafka import Kafka
from tests.brokers.kafka_features import SAFE_DOWNGRADE
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import from_folder
from tests.patterns.stage import Actor, SnippetError, Stage, everything

DONE = ["transcode ant.mp4", "transcode bee.mp4"]
WAITING = [
    f"transcode {name}.mp4" for name in ("cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")
]
LAST, BACK = "transcode last.mp4", "transcode back.mp4"
#: Where the older server reads what the newer one has left.
AND_BACK = {"kafka", "nats", "redis"}
#: Kafka's `metadata.version`, as `kafka-storage.sh version-mapping` prints it.
METADATA_OF_4_3, METADATA_OF_4_4 = 30, 33
#: Their messages carry no number of the delivery.
COUNTS_NOTHING = {"kafka", "postgresql"}


def pg_dump(server: Server) -> str:
    """Return the database as SQL: by its own version's program, as the next one's fails here."""
    return subprocess.run(
        server.source.command("pg_dump", server.address),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def upgrade(server: Server) -> None:
    """Replace the server by that of the newest generation."""
    if isinstance(server, Rabbitmq):
        server.control("enable_feature_flag", "all")
    dumped = pg_dump(server) if isinstance(server, Postgresql) else ""
    replace(server, NEWEST)
    if dumped:
        subprocess.run(
            server.source.command("psql", "-q", "-v", "ON_ERROR_STOP=1", server.address),
            input=dumped,
            stdout=subprocess.DEVNULL,
            text=True,
            check=True,
        )


def replace(server: Server, of: Generation) -> None:
    """Stop the server, as an operator does, and start another generation's on its data."""
    server.stop()
    server.source = from_folder(of)
    if isinstance(server, Postgresql):  # it reads no other version's data
        server.database.rename(server.data / "of-the-old-version")
        port = server.port_number
        server.prepare()
        server.port_number = port
    server.start()


@contextmanager
def running(key: str) -> Iterator[Server]:
    """Run the stable server called `key`, and in the end whatever it has become."""
    missing = [of.name for of in (STABLE, NEWEST) if not debian.folder(of).exists()]
    if missing:
        reason = f"the {' and '.join(missing)} servers are not here: run `make servers`"
        (pytest.fail if os.environ.get("BROKERS") == "required" else pytest.skip)(reason)
    server = SERVERS[key](from_folder(STABLE))
    try:
        server.start()
        yield server
    finally:
        server.close()


def no_way_back_once_it_is_finalised(server: Kafka) -> None:
    """Let the cluster use the format of 4.4: it is not lowered again, and 4.3 can't read it."""
    replace(server, NEWEST)
    assert server.finalise(metadata_version=METADATA_OF_4_4) is None
    refused = server.finalise(metadata_version=METADATA_OF_4_3, kind=SAFE_DOWNGRADE)
    assert refused is not None
    assert f"downgrade from {METADATA_OF_4_4} to {METADATA_OF_4_3}" in refused
    with pytest.raises(RuntimeError):
        replace(server, STABLE)
    assert f"No MetadataVersion with feature level {METADATA_OF_4_4}" in server.log.read_text()


def workers(stage: Stage, mode: str) -> list[Actor]:
    return [stage.spawn("work", worker=name, mode=mode) for name in "AB"]


def done_by(some: list[Actor]) -> set[str]:
    return set(everything("done", some))


def published(stage: Stage, task: str) -> bool:
    """Tell whether the task was confirmed."""
    try:
        stage.call("submit", tasks=[task])
    except SnippetError:
        return False
    return True


@pytest.mark.parametrize("key", SERVERS)
def test_work_goes_on_where_it_was(key: str, tmp_path: Path) -> None:
    with running(key) as server, Stage.of("patterns/work_queue", key, server, tmp_path) as stage:
        stage.call("declare")
        first = workers(stage, "do")
        stage.call("submit", tasks=DONE)
        assert stage.happens(lambda: done_by(first) == {*DONE}, *first)
        assert stage.work_is_shared_by(*first)  # so they have acknowledged what they had done
        for worker in first:
            worker.kill()
        busy = workers(stage, "hold")
        stage.call("submit", tasks=WAITING)
        assert stage.happens(lambda: any(worker.taken for worker in busy), *busy)

        held = {task for worker in busy for task in worker.taken}
        began = time.monotonic()
        upgrade(server)
        for worker in busy:
            worker.kill()
        later = workers(stage, "do")
        assert stage.happens(lambda: published(stage, LAST), *later)
        print(f"nobody could publish for {time.monotonic() - began:.1f} s: {server.version()}")
        assert stage.happens(lambda: done_by(later) >= {*WAITING, LAST}, *later)
        again = {task: n for one in later for task, n in one.counted.items() if task in held}
        assert key in COUNTS_NOTHING or all(n and n > 1 for n in again.values())

        if key in AND_BACK:
            replace(server, STABLE)
            later += workers(stage, "do")
            assert stage.happens(lambda: published(stage, BACK), *later)
            assert stage.happens(lambda: BACK in done_by(later), *later)
        if isinstance(server, Kafka):
            no_way_back_once_it_is_finalised(server)
        assert not {*DONE} & {*everything("taken", later)}
