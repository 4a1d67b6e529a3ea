"""`make mutants`: what it finds, what it takes away, and that it tells what is noticed."""

from __future__ import annotations

import functools

from tests.mutants.candidates import Mutant, draw, mutants_of, pool
from tests.mutants.tester import started
from tests.mutants.trial import BESIDE, EQUIVALENT, OWN, explained, fits, rounds_for
from tests.snippets.running import ROOT, SNIPPETS, name

WORK_QUEUE = "patterns/work_queue/on_minibroker.py"
OUTPUT = f"tests/snippets/output.py::test_output[{WORK_QUEUE}]"


def of(path: str) -> dict[str, Mutant]:
    """Return the mutants of a file, by what they lack."""
    return {str(mutant).split(": ", 1)[1]: mutant for mutant in mutants_of(SNIPPETS / path)}


def test_statements_and_conditions_of_all_functions_but_main_are_found() -> None:
    assert list(of(WORK_QUEUE)) == [
        "BROKER.declare(QUEUE)",
        "QUEUE not in BROKER.publish(QUEUE, task) -> False",
        "QUEUE not in BROKER.publish(QUEUE, task) -> True",
        'raise LookupError(f"no queue for {task!r}: call declare() first")',
        "done = 0",
        "await handle(delivery.message.body, delivery.number)",
        "delivery.ack()",
        "done += 1",
        "done == limit -> False",
        "done == limit -> True",
        "return",
    ]


def test_each_option_goes_with_one_comma() -> None:
    file = SNIPPETS / "redis_client.py"
    code = file.read_text()
    options = [one for one in mutants_of(file) if not one.instead]
    assert {"decode_responses=True", "timeout=FSYNC"} <= {one.taken for one in options}
    for one in options:
        assert one.text.count("=") >= 1
        assert one.text.strip().strip(",").strip() == one.taken
        assert len(code[: one.start].splitlines()) in {one.line, one.line - 1}


def test_what_only_python_misses_is_not_drawn() -> None:
    lacking = {text for path in ("redis_client.py", WORK_QUEUE) for text in of(path)}
    assert not [text for text in lacking if text.startswith(('"""', "import", "from", "QUEUE ="))]


def test_it_lacks_that_and_the_rest_stays() -> None:
    code = (SNIPPETS / WORK_QUEUE).read_text()
    lacking = of(WORK_QUEUE)["delivery.ack()"].of(code)
    assert lacking == code.replace("delivery.ack()", "pass")


def test_a_companion_is_tried_with_all_who_use_it() -> None:
    users = {one.file: paths for one, paths in pool("on_redis").items()}
    work_queue = WORK_QUEUE.replace("minibroker", "redis")
    assert users[work_queue] == [work_queue]
    patterns = sorted((SNIPPETS / "patterns").glob("*/on_redis.py"))
    importing = [name(path) for path in patterns if "redis_client" in path.read_text()]
    assert users["redis_client.py"] == importing
    assert [*{one.file for one in pool(WORK_QUEUE)}] == [WORK_QUEUE]
    assert rounds_for(WORK_QUEUE, [WORK_QUEUE], survival=False) == [
        [
            OUTPUT,
            "tests/patterns/test_work_queue.py",
            "-k",
            "(minibroker) and not without-its-line",
        ],
        [*BESIDE, "-k", "(minibroker) and (work_queue)"],
    ]


def test_what_is_drawn_stays_when_another_file_changes() -> None:
    both = [*pool("work_queue/idea")]
    one = [each for each in both if each.file.endswith("idea.py")]
    drawn = draw(both, seed=1, number=8)
    assert draw(both, seed=1, number=4) == drawn[:4]
    assert draw(both, seed=2, number=8) != drawn
    stayed = [each for each in drawn if each in one]
    assert 0 < len(stayed) < 8
    assert draw(one, seed=1, number=len(stayed)) == stayed


def test_tests_of_what_snippets_share_are_there() -> None:
    shared = {name(path) for path in SNIPPETS.glob("*.py")}
    for file, tests in OWN.items():
        assert file in shared
        assert (ROOT / tests).exists()


def test_it_tells_what_is_noticed_and_goes_on() -> None:
    mutants = of(WORK_QUEUE)
    with started() as one:
        for lacking, noticed in {
            "BROKER.declare(QUEUE)": True,
            'raise LookupError(f"no queue for {task!r}: call declare() first")': False,
            "QUEUE not in BROKER.publish(QUEUE, task) -> True": True,
        }.items():
            run = one.run([OUTPUT], mutants[lacking])
            assert (run.failed, run.passed) == ((OUTPUT, []) if noticed else (None, [OUTPUT])), run
        for output in (OUTPUT, OUTPUT.replace("on_minibroker", "idea")):
            assert one.run([output], None).passed == [output]
        [shared, *_] = mutants_of(SNIPPETS / "minibroker.py")
        assert one.run(["tests/snippets/test_minibroker.py"], shared).failed


def test_every_explained_line_is_there() -> None:
    """A line that changed is explained anew, or leaves the list."""
    found = functools.cache(mutants_of)
    for entry in explained():
        assert entry["reason"]
        mutants = found(SNIPPETS / entry["file"])
        assert any(fits(entry, one) for one in mutants), f"{EQUIVALENT.name}: {entry}"
