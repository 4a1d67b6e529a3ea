"""A time-out says what did not come: the exception of asyncio's own clock has no text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snippets.running import SNIPPETS, broker_key

CLOCKS = {"asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for"}
#: Files that a reader copies: what the demonstration in `main()` waits for is no service's matter.
FILES = sorted(SNIPPETS.rglob("*.py"))


def unnamed(code: str, *, client_has_clocks: bool) -> list[int]:
    """Return the lines with a clock around which nothing catches its exception.

    `client_has_clocks` counts a `timeout=` that is passed on, too: aio-pika uses asyncio's.
    """
    return sorted(_clocks(ast.parse(code), caught=False, also_passed=client_has_clocks))


def _clocks(node: ast.AST, *, caught: bool, also_passed: bool) -> Iterator[int]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "main":
        return
    if isinstance(node, ast.Call) and not caught:
        passed = {one.arg: one.value for one in node.keywords}.get("timeout")
        given = passed is not None and ast.unparse(passed) != "None"
        waits = ast.unparse(node.func)
        if waits in CLOCKS or (also_passed and given and waits != "asyncio.wait"):
            yield node.lineno
    for child in ast.iter_child_nodes(node):
        within = caught
        if isinstance(node, ast.Try) and child in node.body:
            handled = [ast.unparse(one.type) for one in node.handlers if one.type]
            within = caught or "TimeoutError" in " ".join(handled)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            around = " ".join(ast.unparse(one.context_expr) for one in node.items)
            within = caught or "suppress(TimeoutError" in around
        yield from _clocks(child, caught=within, also_passed=also_passed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SNIPPETS)))
def test_no_time_out_is_without_a_text(path: Path) -> None:
    code = path.read_text()
    lines = unnamed(code, client_has_clocks="aio_pika" in code or broker_key(path) == "rabbitmq")
    assert not lines, (
        f"lines {lines} wait with a clock whose exception says nothing: catch its TimeoutError and"
        " say what did not come, or use the clock of the broker's module"
    )


def test_that_this_can_fail() -> None:
    code = """
async def publish(exchange, message):
    await exchange.publish(message, "x", timeout=10)
    async with asyncio.timeout(5):
        await answer()
    try:
        async with asyncio.timeout(5):
            await answer()
    except TimeoutError:
        raise TimeoutError("no answer after 5 s") from None


async def main():
    async with asyncio.timeout(60):
        await publish()
"""
    assert unnamed(code, client_has_clocks=True) == [3, 4]
    assert unnamed(code, client_has_clocks=False) == [4]
