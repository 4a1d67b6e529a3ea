"""What runs a reader's program in the browser, here in this Python, and what it is offered for."""

from __future__ import annotations

import asyncio
import linecache
import sys
from pathlib import Path

import pytest
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

from handbook import runner
from handbook.runner import program
from handbook.snippet import Snippet

ROOT = Path(__file__).parents[2]
RUNNABLE = runner.runnable(ROOT / "snippets")


def run(code: str, **beside: str) -> list[tuple[str, str]]:
    """Return what a program prints, piece by piece."""
    sent: list[tuple[str, str]] = []
    files = {"program.py": code} | {f"{name}.py": text for name, text in beside.items()}

    def send(kind: str, text: str) -> None:
        sent.append((kind, text))

    asyncio.run(program.run("program.py", files, send))
    for file in files:
        linecache.cache.pop(file, None)
    return sent


def test_a_program_awaits_where_it_would_start_a_loop() -> None:
    code = """
import asyncio

async def main():
    print("cat.mp4")
    await asyncio.sleep(0)
    print("dog.mp4")

if __name__ == "__main__":
    asyncio.run(main())
"""
    assert run(code) == [("output", "cat.mp4\n"), ("output", "dog.mp4\n")]


def test_a_line_without_an_end_is_printed_too() -> None:
    assert run("print('cat', end='')") == [("output", "cat")]


def test_an_error_shows_the_lines_of_the_programs_own_files() -> None:
    [(kind, text)] = run(
        "import asyncio\nimport beside\nasyncio.run(beside.fail())\n",
        beside="async def fail():\n    int('cat')\n",
    )
    assert kind == "error"
    assert [line for line in text.splitlines() if line.startswith("  File")] == [
        '  File "program.py", line 3, in <module>',
        '  File "beside.py", line 2, in fail',
    ]
    assert "int('cat')" in text
    assert __file__ not in text
    assert program.__file__ not in text


def test_the_errors_of_a_group_are_trimmed_too() -> None:
    code = """
import asyncio

async def fail():
    int("cat")

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())

asyncio.run(main())
"""
    [(kind, text)] = run(code)
    assert kind == "error"
    assert "taskgroups.py" not in text
    assert "line 5, in fail" in text


def test_what_is_no_python_is_shown_as_such() -> None:
    [(kind, text)] = run("def broken(:\n")
    assert kind == "error"
    assert "SyntaxError" in text


def test_a_program_may_exit() -> None:
    assert run("import sys\nsys.exit()") == []
    assert run("import sys\nsys.exit('no broker')") == [("error", "SystemExit: no broker\n")]


def test_what_a_program_leaves_behind_is_ended_and_forgotten() -> None:
    code = """
import asyncio
import beside

async def main():
    asyncio.create_task(beside.forever())
    await asyncio.sleep(0)

asyncio.run(main())
"""
    beside = """
import asyncio

async def forever():
    try:
        await asyncio.Event().wait()
    finally:
        print("ended")
"""
    before = sys.modules["__main__"], list(sys.meta_path)
    assert run(code, beside=beside) == [("output", "ended\n")]
    assert (sys.modules["__main__"], list(sys.meta_path)) == before
    assert "beside" not in sys.modules


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("patterns/work_queue/on_minibroker.py", True),
        ("what_is_a_broker/step_1_queue.py", True),
        ("patterns/work_queue/on_redis.py", False),  # a server
        ("communication/ask_and_wait.py", False),  # threads
        ("what_is_a_broker/step_4_log.py", False),  # processes
        ("minibroker.py", False),  # a module prints nothing
    ],
)
def test_a_snippet_runs_in_a_browser_if_that_has_what_it_needs(path: str, there: bool) -> None:
    assert (path in RUNNABLE) is there


def test_what_is_too_slow_is_a_snippet() -> None:
    for path in runner.TOO_SLOW:
        assert Snippet(ROOT / "snippets", path).code


def test_what_breaks_a_claim_stands_once_in_what_the_browser_runs() -> None:
    changes = runner.breaking(ROOT)
    assert changes
    for path, each in changes.items():
        files = [(ROOT / "snippets" / one).read_text() for one in (path, *RUNNABLE[path])]
        for name, change in each.items():
            assert sum(text.count(change["line"]) for text in files) == 1, (path, name)
            assert change["seen"], (path, name)


def test_without_npm_the_site_is_built_without_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = MkDocsConfig()
    config.docs_dir = str(tmp_path / "docs")
    files = Files([])
    with caplog.at_level("INFO"):
        assert runner.publish(files, config) is None
    assert not list(files)
    assert caplog.messages == [
        "No snippet gets a Run button: Pyodide is not there (`npm ci` fetches it)"
    ]
