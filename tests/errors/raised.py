"""How the tests of error texts come by an error."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any


async def error_of(asked: Awaitable[Any]) -> Exception:
    """Return the error with which something ends; it is a fault if it ends without one."""
    try:
        answer = await asked
    except Exception as error:
        return error
    raise AssertionError(f"no error, but {answer!r}")
