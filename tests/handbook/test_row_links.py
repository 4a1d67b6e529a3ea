"""Each row of a table has a name of its own, which its first cell gives it."""

from __future__ import annotations

import re

from markdown import Markdown

TABLE = """# Limits

## Row one

| Setting | Kafka |
|---|---|
| `max.poll.interval.ms` | 5 min |
| Row one | 1 |
| Row one | 2 |
| ? | 3 |
"""


def test_a_row_is_named_after_its_first_cell() -> None:
    html = Markdown(
        extensions=["tables", "toc", "attr_list", "handbook.row_links"],
    ).convert(TABLE)
    assert re.findall(r'<(h2|tr) id="([^"]+)"', html) == [
        ("h2", "row-one"),
        ("tr", "row-maxpollintervalms"),
        ("tr", "row-row-one"),
        ("tr", "row-row-one_1"),
    ]
