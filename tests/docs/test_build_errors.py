"""A page with a fault does not build, and the error names the file and the line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Front matter, so that a line counted without it would be wrong.
HEAD = "---\ndescription: A page.\n---\n\n# Page\n\nA sentence.\n\n"
LINE = HEAD.count("\n") + 1
SNIPPET = '"""Ask."""\n\n\ndef ask() -> None:\n    print("asked")\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A handbook with one page, one topic and one broker, built as the real one is."""
    (tmp_path / "docs").mkdir()
    for name in ("handbook", "compose.yaml", "docs/assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    one_page = re.sub(r"^nav:\n(?:[ -].*\n)+", "nav:\n  - Page: page.md\n", config, flags=re.M)
    # Without labs no build has to load what runs them.
    one_page = re.sub(r"^  - mkdocs-jupyter:\n(?:      .*\n)+", "", one_page, flags=re.M)
    files = {
        "mkdocs.yml": one_page,
        "snippets/topic/on_redis.py": SNIPPET,
        "snippets/topic/on_redis.out": "asked\n",
        "snippets/other/on_kafka.py": SNIPPET,
        "snippets/other/on_kafka.out": "asked\n",
        "snippets/other/silent.py": SNIPPET,
        "tests/test_topic.py": "\n\ndef test_ask() -> None: ...\n",
        "docs/data/versions.json": json.dumps({"redis": {"server": "Redis", "client": "redis"}}),
        "docs/data/claims.json": json.dumps(
            {
                "topic": [claim("test_ask", 'print("asked")')],
                "other": [claim("test_gone", 'print("asked")')],
                "stale": [claim("test_ask", "await nothing()")],
            }
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "snippets" / "stale").symlink_to("topic")
    return tmp_path


def claim(test: str, line: str) -> dict[str, object]:
    """Return a claim as the tests record it."""
    verdict = {"holds": True, "says": "", "with_help": "", "line": line, "instead": "pass"}
    brokers = {"redis": verdict}
    what = {"id": test, "claim": "It asks.", "promise": test == "test_gone"}
    return {**what, "test": "tests/test_topic.py", "brokers": brokers}


def build(project: Path, body: str) -> tuple[int, str]:
    """Build the project with this text on its page; return the exit code and what was said."""
    (project / "docs" / "page.md").write_text(HEAD + body, encoding="utf-8")
    return run(project)


def run(project: Path) -> tuple[int, str]:
    """Build the project as it is; return the exit code and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(project / "site")],
        cwd=project,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_page_without_a_fault_builds(project: Path) -> None:
    """What the other tests see is the fault's doing."""
    code, said = build(
        project,
        "::: code topic\n\n::: claims topic\n\n::: file topic/on_redis.py ask\n\n"
        "```python\n::: nonsense, but inside a code block\n```\n\n[here](page.md#page), "
        "[its test](../tests/test_topic.py#test_ask), [`test_topic.py`](../tests/test_topic.py) "
        "and [others](../tests/)\n",
    )
    assert code == 0, said
    html = (project / "site" / "page" / "index.html").read_text(encoding="utf-8")
    assert re.search(r'href="https?://[^"]+/blob/main/tests/test_topic.py#L3">its test', html)
    assert re.search(r'href="https?://[^"]+/blob/main/tests/test_topic.py"><code>', html)
    assert re.search(r'href="https?://[^"]+/tree/main/tests">others', html)


FAULTS = {
    "an unknown directive": ("::: cod topic", "there is no directive '::: cod'"),
    "an unknown topic": ("::: code topics", "topics are: other, topic"),
    "an unknown function": ("::: code topic tell", "has a function 'tell'; there are: "),
    "an unknown file": ("::: file topic/on_kafka.py", "in that folder are: on_redis.py"),
    "an unknown section": ("::: file topic/on_redis.py reply", "has no section 'reply'"),
    "an output that was not recorded": ("::: file other/silent.py", "has no recorded output"),
    "a broker without versions": ("::: code other", "versions.json has no entry 'kafka'"),
    "a topic without claims": ("::: claims topics", "has no claims on 'topics'"),
    "a test that is gone": ("::: claims other", "tests/test_topic.py does not have"),
    "a line that is not in the snippet": ("::: claims stale", "does not contain the line"),
    "a table of a pattern without claims": ("::: support topics", "has no claims on 'topics'"),
    "a table of a pattern without a page": ("::: support other", "docs/other.md is missing"),
    "a table of a pattern without a promise": ("::: support topic", "marks 0 claims on 'topic'"),
    "questions that are missing": ("::: choose none.yml", "there is no docs/none.yml"),
    "an error without a test": ("::: error redis/typo", "test_typo in tests/errors/test_redis.py"),
    "a missing recording": ("::: recording topic/x.mmd | X", "no recording snippets/topic/x.mmd"),
    "a diagram without description": ("```mermaid\nflowchart TD\na --> b\n```", "accTitle"),
    "a diagram that can't be drawn": (
        "```mermaid\nsequenceDiagram\naccTitle: T\naccDescr: D\nA->>: x\n```",
        "can't be drawn",
    ),
    "a code block that is not closed": ("```python\nprint()", "is not closed"),
    "a broken link": ("[there](nowhere.md)", "'nowhere.md'"),
    "a link to a file that is gone": ("[test](../tests/test_gone.py)", "no tests/test_gone.py"),
    "a link that names no test": ("[so](../tests/test_topic.py)", "names no test: write"),
    "a link to a test that is gone": (
        "[so](../tests/test_topic.py#test_gone)",
        "not have test_gone",
    ),
    "a directive with a colon too few": (":: code topic", "write '::: code'"),
    "a footnote that is not there": ("It is so.[^nowhere]", "[^nowhere]: is missing"),
    "a footnote that nobody names": ("[^why]: Because.", "nothing on this page names [^why]"),
    "a broken anchor": ("[there](#nowhere)", "'#nowhere'"),
    "an absolute link": ("[there](/page/)", "'/page/'"),
    "a script": ("<script>alert(1)</script>", "<script> is no HTML that a page may hold"),
    "a handler of events": ("*x*{ onclick=alert(1) }", "the attribute onclick must not stand"),
}


@pytest.mark.parametrize(("body", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_fault_stops_the_build_and_names_its_line(project: Path, body: str, reason: str) -> None:
    """The log says where the fault is and what it is."""
    code, said = build(project, body + "\n")
    assert code == 1, said
    report = [line for line in said.splitlines() if f"docs/page.md:{LINE}: " in line]
    assert report, said
    assert any(reason in line for line in report), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("""description: 'A "><script>alert(1)</script>'""", "must not have the sign"),
        ("template: page.md", "a page's head has no 'template'"),
    ],
)
def test_a_head_can_carry_no_html(project: Path, head: str, reason: str) -> None:
    """The theme prints it as it is."""
    (project / "docs" / "page.md").write_text(f"---\n{head}\n---\n\n# Page\n", encoding="utf-8")
    code, said = run(project)
    assert code == 1, said
    assert "docs/page.md:2: " in said
    assert reason in said


@pytest.mark.parametrize(
    ("name", "text"), [("x.html", "<p>x</p>"), ("x.svg", "<svg onload='alert(1)'></svg>")]
)
def test_a_file_can_carry_no_script(project: Path, name: str, text: str) -> None:
    """Files beside the pages are published as they are, and a browser opens these."""
    (project / "docs" / name).write_text(text, encoding="utf-8")
    code, said = build(project, "Text.\n")
    assert code == 1, said
    assert f"docs/{name}: " in said


def test_missing_records_say_which_run_writes_them(project: Path) -> None:
    """A fresh topic has no claims file yet."""
    (project / "docs" / "data" / "claims.json").unlink()
    code, said = build(project, "::: claims topic\n")
    assert code == 1
    assert f"docs/page.md:{LINE}: docs/data/claims.json is missing" in said
    assert "make record" in said
