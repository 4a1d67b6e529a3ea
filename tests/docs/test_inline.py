"""Python written into a page runs, and prints what the page says it prints (`#> `)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples, run_code

DOCS = Path(__file__).parents[2] / "docs"

# On Python 3.11 the library's own shortened traceback ends the whole session; keep Python's.
setattr(run_code, "create_example_traceback", lambda error, *_: error.__traceback__)  # noqa: B010


@pytest.mark.parametrize("example", list(find_examples(DOCS)), ids=str)
def test_inline_python(example: CodeExample, eval_example: EvalExample) -> None:
    assert not example.prefix_settings(), "a block on a page takes no setting: every block runs"
    eval_example.set_config(line_length=79, target_version="py310")
    if eval_example.update_examples:
        eval_example.run_print_update(example)
    else:
        eval_example.lint_ruff(example)
        eval_example.run_print_check(example)


@pytest.mark.parametrize(
    "page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix()
)
def test_every_python_block_is_found(page: Path) -> None:
    # pytest-examples sees ``` fences whose first word is python, and no others.
    text = page.read_text()
    fences = re.findall(r"^ *(`{3,}|~{3,}) *\{? *\.?(py\w*)", text, re.MULTILINE)
    found = list(find_examples(page))
    assert len(fences) == len(found)
