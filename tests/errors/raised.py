"""How the tests of error texts come by an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


async def error_of(asked: Awaitable[Any]) -> Exception:
    """Return the error with which something ends; it is a fault if it ends without one."""
    try:
        answer = await asked
    except Exception as error:
        return error
    raise AssertionError(f"no error, but {answer!r}")


def error_by(ask: Callable[[], Any]) -> Exception:
    """Return the error that a call raises; it is a fault if it raises none."""
    try:
        answer = ask()
    except Exception as error:
        return error
    raise AssertionError(f"no error, but {answer!r}")
