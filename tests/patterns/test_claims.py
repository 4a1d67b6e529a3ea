"""The machinery of claims: what it takes for a failure, and what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.patterns.claims import Case, ClaimError, all_claims, claim, holds, prove
from tests.patterns.stage import SnippetError, Stage


def case(line: str, instead: str) -> Case:
    """Return the work queue on the minibroker, with `instead` in the place of `line`."""
    return Case("minibroker", "patterns/work_queue", holds(line, instead), without=True)


def test_a_change_that_makes_no_sense_proves_nothing(tmp_path: Path) -> None:
    with Stage.of("patterns/work_queue", "minibroker", None, tmp_path) as stage:
        stage.replace("delivery.ack()", "delivery.nonsense()")
        stage.call("declare")
        stage.call("submit", tasks=["transcode cat.mp4"])
        stage.refuse_nonsense()
        worker = stage.spawn("work", worker="A")
        assert stage.happens(lambda: bool(worker.error), worker)
        with pytest.raises(SnippetError, match=r"makes no sense.*AttributeError"):
            stage.refuse_nonsense()


@pytest.mark.parametrize(("line", "times"), [("snore()", 0), ("asyncio", 3)])
def test_the_carrying_text_is_in_the_snippet_once(line: str, times: int, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=rf"on_minibroker\.py.* has {times} times"):
        case(line, "pass").prepare(tmp_path)


def test_a_change_has_to_be_python(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError):
        case("delivery.ack()", "delivery.ack(").prepare(tmp_path)


TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl")]
#: In the place of an acknowledgement: the worker gets the next task all the same.
KEEPS = "consumer.prefetch += 1; consumer.queue.dispatch()"
TWICE = "A task is done twice."


def never_twice(stage: Stage) -> None:
    """Prove that a task is done once: it is seen when a second worker follows the first."""
    stage.call("declare")
    stage.call("submit", tasks=TASKS[:2])
    first = stage.spawn("work", worker="A")
    assert stage.happens(lambda: len(first.done) == 2, first)
    first.kill()
    second = stage.spawn("work", worker="B")
    stage.call("submit", tasks=TASKS[2:])
    assert stage.happens(lambda: TASKS[2] in second.done, second)
    assert second.taken == TASKS[2:], TWICE


def judge(line: str, instead: str, seen: str, folder: Path, **options: Any) -> None:
    """Run `never_twice` on the minibroker's work queue with `instead` in the place of `line`."""
    proof = holds(line, instead, seen=seen)
    with Stage.of("patterns/work_queue", "minibroker", None, folder, **options) as stage:
        stage.without = True
        stage.replace(line, instead)
        twin = Case("minibroker", "patterns/work_queue", proof, without=True)
        prove(never_twice, twin, stage, "Each task is done once.")


def test_a_twin_that_fails_where_it_is_seen_proves_the_claim(tmp_path: Path) -> None:
    judge("delivery.ack()", KEEPS, TWICE, tmp_path)


@pytest.mark.parametrize(
    "instead", ["pass", "return"], ids=["because it stalls", "because it ends"]
)
def test_a_twin_that_fails_before_it_is_seen_proves_nothing(instead: str, tmp_path: Path) -> None:
    """It says what was demanded, and what failed, with its file and its line."""
    with pytest.raises(pytest.fail.Exception) as failure:
        judge("delivery.ack()", instead, TWICE, tmp_path, seconds=1.0)
    said = str(failure.value)
    assert f"on_minibroker.py with '{instead}' for 'delivery.ack()' fails at another" in said
    assert f'Demanded: the assertion with the message "{TWICE}"' in said
    where = r"Failed: tests/patterns/test_claims\.py:\d+: assert stage\.happens\("
    assert re.search(where, said), said


def test_the_message_of_the_assertion_is_the_sentence_itself(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="fails at another assertion"):
        judge("delivery.ack()", KEEPS, "A task is done", tmp_path)


def test_a_twin_that_passes_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="still passes"):
        judge("done += 1", "done += 2", TWICE, tmp_path)


def test_a_twin_that_raises_in_the_set_up_says_what_was_demanded(tmp_path: Path) -> None:
    with pytest.raises(SnippetError) as failure:
        judge("BROKER.declare(QUEUE)", "raise OSError", TWICE, tmp_path)
    assert any(f'was to be seen by: "{TWICE}"' in note for note in failure.value.__notes__)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("rabitmq", "names rabitmq=, and the brokers are: minibroker, rabbitmq, kafka"),
        ("redis", "there is no snippets/patterns/claims/on_redis.py: write it, or take redis="),
    ],
)
def test_a_claim_on_a_broker_that_is_not_there_names_its_line(key: str, problem: str) -> None:
    with pytest.raises(ClaimError, match=problem) as failure:
        claim("Each task is done once.", **{key: holds("ack()", "pass")})(never_twice)
    assert re.match(r"tests/patterns/test_claims\.py:\d+: never_twice names", str(failure.value))


def test_every_proof_says_what_must_be_seen() -> None:
    silent = [
        f"{one.topic}: {one.name}[{key}]"
        for one in all_claims()
        for key, proof in one.proofs.items()
        if proof.line and not proof.seen
    ]
    assert not silent, f"write seen= into: {', '.join(silent)}"
