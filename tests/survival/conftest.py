"""Which functions a run that records tries: those that `-k` names, as it names other tests."""

from __future__ import annotations

import pytest
from _pytest.mark.expression import Expression

from tests.survival.faults import Fault
from tests.survival.subjects import Subject, chosen

#: The functions of each broker that `-k` chose; without `-k`, or without `--update`, there is none.
CHOSEN = pytest.StashKey[dict[str, list[Subject]]]()


@pytest.hookimpl(tryfirst=True)  # before pytest itself looks at `-k`
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose a fault if it is named together with a function, and keep which one.

    All functions of a broker share the test of a fault, so its name says nothing of them.
    """
    text = config.option.keyword.strip()
    if not text or not config.getoption("--update"):
        return
    expression = Expression.compile(text)
    found = config.stash.setdefault(CHOSEN, {})
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        if not isinstance(given.get("fault"), Fault):
            continue
        # What pytest compares `-k` with: the names of the test, its file and its folders.
        names = [each.name for each in item.listchain() if not isinstance(each, pytest.Session)]
        subjects = [one for one in chosen(given["key"]) if matches(expression, [*names, one.name])]
        known = found.setdefault(given["key"], [])
        known += [one for one in subjects if one not in known]
        if subjects:
            item.extra_keyword_matches.add(subjects[0].name)


def matches(expression: Expression, names: list[str]) -> bool:
    lower = [name.lower() for name in names]

    def is_in_one(part: str, /, **_: object) -> bool:
        return any(part.lower() in name for name in lower)

    return expression.evaluate(is_in_one)
