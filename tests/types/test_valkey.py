"""Valkey in the place of Redis: its snippets print what they print on Redis.

The claims of Redis run on it too: see `tests/patterns/claims.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.snippets.running import all_snippets, broker_key, download, name, run, whole_code

#: Redis 8 takes the entries that were trimmed away off the lag of a group. Valkey counts them.
DIFFERS = {"types/redis_trimmed/on_redis.py": ("1 entry, lag 1", "1 entry, lag 3")}
SNIPPETS = [path for path in all_snippets() if broker_key(path) == "redis"]


@pytest.mark.broker("valkey")
@pytest.mark.parametrize("snippet", [pytest.param(path, id=name(path)) for path in SNIPPETS])
def test_it_prints_what_it_prints_on_redis(
    snippet: Path, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    copy = download(snippet, tmp_path)
    printed = run([find_uv_bin(), "run", copy.name], tmp_path, addresses(whole_code(snippet)))
    on_redis, on_valkey = DIFFERS.get(name(snippet), ("", ""))
    recorded = snippet.with_suffix(".out").read_text()
    assert on_redis in recorded
    assert printed == recorded.replace(on_redis, on_valkey)
