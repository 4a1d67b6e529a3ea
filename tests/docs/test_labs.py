"""A lab proves what it says, stops the build if it can't, and runs again when it has to."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

from handbook.labs import depends, engine
from handbook.labs.notebook import Lab
from handbook.page import PageError
from tests.docs.labs import LABS
from tests.records import ROOT

each = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
HEAD = "# ---\n# description: A lab.\n# ---\n\n# %% [markdown]\n# # A lab\n\n# %%\n"
LINE = HEAD.count("\n") + 1


@each
def test_a_lab_asserts_what_it_says(lab: Path) -> None:
    """As often as it has a section, at least."""
    text = lab.read_text()
    asserts = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]
    assert len(asserts) >= len(re.findall(r"^# ## ", text, re.MULTILINE)) - 1
    assert asserts


@each
def test_chance_has_a_seed(lab: Path) -> None:
    """Nothing is drawn from the generator that all share, and which differs from run to run."""
    for node in ast.walk(ast.parse(lab.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "random"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "random" or node.attr == "Random"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "random.Random",
            "np.random.default_rng",
        }:
            assert node.args, "a generator without a seed"


FAULTS = {
    "a failed assert": ("x = 1\nassert x == 2", 1, "AssertionError, in: assert x == 2"),
    "an error in a function": ("def f():\n    return 1 / 0\n\nf()", 1, "ZeroDivisionError"),
    "no Python": ("x = 1\nx = = 2", 1, "SyntaxError: invalid syntax"),
    "a warning": ("import warnings\nwarnings.warn('odd')", 0, "standard error"),
    "a figure without a text": (
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])",
        0,
        "a figure needs a text alternative: fig.set_label",
    ),
    "a colour without a twin": (
        "import matplotlib.pyplot as plt\n"
        "fig, ax = plt.subplots()\nax.plot([1, 2], color='red')\nfig.set_label('A line.')",
        0,
        "the colour #ff0000 has no dark twin",
    ),
}


@pytest.mark.parametrize(("code", "line", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, line: int, said: str
) -> None:
    """Whether the cell failed, or showed what a page can't show."""
    monkeypatch.chdir(ROOT)
    lab = tmp_path / "lab.py"
    lab.write_text(HEAD + code + "\n")
    with pytest.raises(PageError) as raised:
        engine.run(str(lab), execute=True, kernel_name="python3", allow_errors=False)
    assert str(raised.value).startswith(f"{lab}:{LINE + line}: ")
    assert said in str(raised.value)


def test_a_lab_has_a_description(tmp_path: Path) -> None:
    lab = tmp_path / "lab.py"
    lab.write_text("# %% [markdown]\n# # A lab\n")
    with pytest.raises(PageError, match=r"lab.py:1: a lab begins with"):
        engine.run(str(lab))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A handbook with one lab, which imports a snippet."""
    (tmp_path / "docs").mkdir()
    for name in ("handbook", "compose.yaml", "docs/assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = (ROOT / "mkdocs.yml").read_text()
    nav = "nav:\n  - Lab: labs/a_lab.py\n"
    files = {
        "mkdocs.yml": re.sub(r"^nav:\n(?:[ -].*\n)+", nav, config, flags=re.M),
        "snippets/story.py": "answer = 'the first answer'\n",
        "docs/labs/a_lab.py": HEAD + "import story\n\nprint(story.answer)\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def start(project: Path, site: str = "site") -> subprocess.Popen[str]:
    """Begin a strict build."""
    return subprocess.Popen(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(project / site)],
        cwd=project,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(build: subprocess.Popen[str]) -> tuple[int, str]:
    """Return a build's exit code and what it said."""
    said, _ = build.communicate()
    return build.returncode, said


def test_a_failed_assert_stops_the_strict_build(project: Path) -> None:
    """The log names the file and the line, without a traceback."""
    (project / "docs" / "labs" / "a_lab.py").write_text(HEAD + "assert 1 == 2\n")
    code, said = finish(start(project))
    assert code == 1
    assert f"docs/labs/a_lab.py:{LINE}: AssertionError, in: assert 1 == 2" in said
    assert "Traceback" not in said


def test_a_wrong_line_of_prose_is_named_too(project: Path) -> None:
    """Although the page's Markdown is made of the lab, lines are those of the lab."""
    lab = project / "docs" / "labs" / "a_lab.py"
    lab.write_text(HEAD + "print(1)\n\n# %% [markdown]\n# Text.\n#\n# ::: nonsense\n")
    code, said = finish(start(project))
    assert code == 1
    assert f"docs/labs/a_lab.py:{LINE + 5}: there is no directive '::: nonsense'" in said


def test_a_lab_runs_once_until_what_it_imports_changes(project: Path) -> None:
    """Two builds at a time share one run; a change in a snippet makes another."""
    running = "Running docs/labs/a_lab.py"
    page = project / "site" / "labs" / "a-lab" / "index.html"
    both = [finish(build) for build in [start(project), start(project, "site-2")]]
    assert [code for code, _ in both] == [0, 0], both
    assert sum(said.count(running) for _, said in both) == 1
    assert "the first answer" in page.read_text()
    (project / "snippets" / "story.py").write_text("answer = 'the second answer'\n")
    code, said = finish(start(project))
    assert (code, said.count(running)) == (0, 1), said
    assert "the second answer" in page.read_text()
    # Nothing in the log but what MkDocs says of itself. This handbook has no Pyodide.
    assert len([line for line in said.splitlines() if "Run button" not in line]) == 4, said


def test_prose_and_what_a_lab_does_not_use_run_nothing(project: Path) -> None:
    """Who writes does not wait for experiments."""
    finish(start(project))
    lab = project / "docs" / "labs" / "a_lab.py"
    lab.write_text(lab.read_text().replace("# # A lab", "# # A lab\n#\n# With more words."))
    (project / "snippets" / "other.py").write_text("x = 1\n")
    code, said = finish(start(project))
    assert (code, said.count("Running")) == (0, 0), said
    page = (project / "site" / "labs" / "a-lab" / "index.html").read_text()
    assert "With more words." in page
    assert "the first answer" in page


def test_what_a_lab_reads_is_part_of_what_it_depends_on(project: Path) -> None:
    """The data that it names, what its imports import, and nothing that it does not use."""

    def digest() -> str:
        return depends.digest(project, Lab(lab, jupytext.read(lab)))

    lab = project / "docs" / "labs" / "a_lab.py"
    data = project / "docs" / "data" / "costs.json"
    data.parent.mkdir()
    seen = [digest()]
    data.write_text("{}")
    assert digest() == seen[-1]
    lab.write_text(lab.read_text().replace(" A lab.", " A lab.\n# needs: [../data/costs.json]", 1))
    seen.append(digest())
    data.write_text("[]")
    seen.append(digest())
    (project / "snippets" / "story.py").write_text("from folder.deeper import answer\n")
    seen.append(digest())
    (project / "snippets" / "folder").mkdir()
    (project / "snippets" / "folder" / "deeper.py").write_text("answer = 1\n")
    seen.append(digest())
    (project / "snippets" / "folder" / "deeper.py").write_text("answer = 2\n")
    seen.append(digest())
    assert len(set(seen)) == len(seen)


@each
def test_a_lab_names_the_files_that_it_reads(lab: Path) -> None:
    """Or a reader could not run it, and a change in them would not run it again."""
    notebook = Lab(lab, jupytext.read(lab))
    needs = " ".join(notebook.meta.get("needs", []))
    named = re.findall(r"[\w-]+\.(?:json|csv|yml|out)\b", notebook.code)
    assert not [name for name in named if name not in needs]
