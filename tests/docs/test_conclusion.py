"""The 25 questions: each has an answer of three sentences, and names what stands behind it."""

from __future__ import annotations

import re

import pytest

from tests.records import ROOT

TEXT = (ROOT / "docs" / "conclusion.md").read_text()
QUESTION = re.compile(r"^### (\d+)\. .+\? \{ #question-\1 \}$", re.MULTILINE)
_, *PARTS = QUESTION.split(TEXT)
ANSWERS = dict(zip(PARTS[::2], PARTS[1::2], strict=True))


def test_there_are_25_questions() -> None:
    assert list(ANSWERS) == [str(number) for number in range(1, 26)]


@pytest.mark.parametrize("number", ANSWERS)
def test_each_answer_has_three_sentences_and_a_proof(number: str) -> None:
    answer, _, behind = ANSWERS[number].strip().partition("\n\n*Behind it:* ")
    # One sentence a line, each ended.
    assert len(answer.splitlines()) == 3
    assert all(line.endswith(".") for line in answer.splitlines())
    assert "](" in behind
