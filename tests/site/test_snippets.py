"""Code on the pages: it is the file, and copying, downloading and choosing a broker work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from handbook.brokers import BROKERS
from tests.site.conftest import PAGES, REPOSITORY, ROOT, Opener, Read, Site

SNIPPETS = ROOT / "snippets"
everywhere = pytest.mark.parametrize("path", PAGES, ids=lambda path: path or "home")


def pages_with(directive: str) -> list[str]:
    """Return the addresses of the pages on which a directive stands."""
    return [
        path
        for path in PAGES
        for file in (ROOT / "docs" / f"{path.rstrip('/')}.md", ROOT / "docs" / path / "index.md")
        if file.is_file() and re.search(rf"^ *::: (?:{directive}) ", file.read_text("utf-8"), re.M)
    ]


def texts(page: Page, attribute: str) -> list[tuple[str, str]]:
    """Return the snippet's name and the code of each block that carries the attribute."""
    found = page.eval_on_selector_all(
        f"[{attribute}]",
        "(all, name) => all.map(e => [e.getAttribute(name), e.querySelector('code').textContent])",
        attribute,
    )
    return [(name, text) for name, text in found]


@everywhere
def test_code_and_output_are_the_files(read: Read, path: str) -> None:
    """Byte for byte, what the page shows is what ran and what it printed."""
    page = read(path)
    for name, text in texts(page, "data-snippet"):
        assert text.encode() == (SNIPPETS / name).read_bytes(), name
    for name, text in texts(page, "data-output"):
        assert text.encode() == (SNIPPETS / name).with_suffix(".out").read_bytes(), name


def test_every_snippet_is_published(built_site: Site) -> None:
    """The raw files lie under /snippets/, so that `uv run <address>` finds them."""
    files = [file for file in SNIPPETS.rglob("*") if file.suffix in {".py", ".out"}]
    assert files
    for file in files:
        published = built_site.folder / "snippets" / file.relative_to(SNIPPETS)
        assert published.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("path", pages_with("code|file"), ids=lambda path: path or "home")
def test_copy_gives_the_whole_file(read: Read, path: str) -> None:
    """The button beside the code puts all of it on the clipboard, and so does that of a fold."""
    page = read(path)
    fold = page.locator("details.whole:visible").first
    blocks = [page.locator("[data-snippet]:visible").first]
    if fold.count():
        fold.locator("summary").click()
        blocks.append(fold.locator("[data-snippet]"))
    for block in blocks:
        name = block.get_attribute("data-snippet") or ""
        page.evaluate("navigator.clipboard.writeText('')")  # all pages share it
        block.locator("button[data-clipboard-target]").click()
        page.wait_for_function("navigator.clipboard.readText().then(text => text !== '')")
        copied = page.evaluate("navigator.clipboard.readText()")
        # The theme leaves out the line break at the end of the last line.
        assert copied == (SNIPPETS / name).read_text(encoding="utf-8").rstrip("\n")


@pytest.mark.parametrize("path", pages_with("code"), ids=lambda path: path or "home")
def test_the_functions_above_a_fold_are_the_files(read: Read, path: str) -> None:
    """What stands first is cut out of the file that is folded below it, or of its companion."""
    page = read(path)
    parts = page.eval_on_selector_all(
        ".part",
        """all => all.map(e => [e.querySelector('.filename').textContent.split(':')[0],
            e.querySelector('code').textContent])""",
    )
    for name, text in parts:
        code = (SNIPPETS / name).read_text(encoding="utf-8")
        for function in text.rstrip("\n").split("\n\n\n"):
            assert f"{function}\n" in code, name


@pytest.mark.parametrize("path", pages_with("code|file"), ids=lambda path: path or "home")
def test_download_gives_the_raw_file(read: Read, path: str, tmp_path: Path) -> None:
    """The link below the code saves the file under a name that says what it is."""
    page = read(path)
    link = page.locator("a[download]:visible").first
    with page.expect_download() as started:
        link.click()
    started.value.save_as(tmp_path / "saved.py")
    assert started.value.suggested_filename == link.get_attribute("download")
    name = page.locator("[data-snippet]:visible").first.get_attribute("data-snippet") or ""
    assert (tmp_path / "saved.py").read_bytes() == (SNIPPETS / name).read_bytes()


@pytest.mark.parametrize("path", pages_with("code"), ids=lambda path: path or "home")
def test_the_command_names_the_published_file(read: Read, built_site: Site, path: str) -> None:
    """What a reader pastes into a terminal leads to files that exist."""
    page = read(path)
    commands = page.locator(".command code").all_text_contents()
    addresses = [each for line in commands for each in re.findall(r"https?://\S+", line)]
    assert addresses
    for address in addresses:
        assert address.startswith(built_site.address)
        assert (built_site.folder / address.removeprefix(built_site.address)).is_file()


def test_a_broker_chosen_on_one_page_is_chosen_on_the_next(visit: Opener) -> None:
    """Choose RabbitMQ once, and every page shows RabbitMQ."""
    # The folded navigation has the links of the chapter that is open.
    first, *others = [path for path in pages_with("code") if path.startswith("patterns/")]
    page = visit(first).page
    page.evaluate("window.sameDocument = true")
    page.locator(".tabbed-labels label", has_text="RabbitMQ").first.click()
    expect(page.locator("[data-output$=on_rabbitmq\\.py]").first).to_be_visible()
    heading = page.locator("article h1")
    for path in others:
        left = heading.text_content() or ""
        page.locator(f"nav.md-nav--primary a[href$='/{path}']").first.click()
        page.wait_for_url(f"**/{path}")
        expect(heading).not_to_have_text(left)
        expect(page.locator("[data-output$=on_rabbitmq\\.py]").first).to_be_visible()
        for block in page.locator("[data-output*='/on_']:visible").all():
            assert (block.get_attribute("data-output") or "").endswith("on_rabbitmq.py")
    assert page.evaluate("window.sameDocument"), "moving on needs no reload"
    page.reload()
    expect(page.locator("[data-output$=on_rabbitmq\\.py]").first).to_be_visible()


@pytest.mark.parametrize("path", pages_with("code"), ids=lambda path: path or "home")
def test_every_broker_with_a_snippet_has_a_tab(read: Read, path: str) -> None:
    """A file that is added to the folder is on the page, in the order of the handbook."""
    page = read(path)
    tabs = page.locator(".tabbed-set").first
    shown = tabs.locator("[data-snippet]").first.get_attribute("data-snippet") or ""
    folder = Path(shown).parent
    present = [each for each in BROKERS if (SNIPPETS / folder / each.file_name).is_file()]
    labels = tabs.locator(".tabbed-labels label")
    assert labels.all_text_contents() == [each.label for each in present]


@pytest.mark.parametrize("path", pages_with("claims"), ids=lambda path: path or "home")
def test_each_claim_leads_to_its_test_and_each_line_is_marked(read: Read, path: str) -> None:
    """The links name lines that exist, and the code marks those that carry a claim."""
    page = read(path)
    tests = page.eval_on_selector_all(
        ".experiment-marks a", "all => all.map(a => a.getAttribute('href'))"
    )
    assert tests
    for address in tests:
        file, number = _line(address)
        assert "def test_" in file[number - 1]
    marked = page.eval_on_selector_all(
        "[data-snippet]",
        """all => Object.fromEntries(all.map(block => [block.dataset.snippet,
            [...block.querySelectorAll('.hll')].map(line => line.textContent)]))""",
    )
    for link in page.locator(".experiment details li a").all():
        address = link.get_attribute("href") or ""
        file, number = _line(address)
        name = address.partition("/snippets/")[2].partition("#")[0]
        assert file[number - 1].strip()
        # A shared module is marked nowhere: it carries claims of many pages.
        assert "/" not in name or file[number - 1] + "\n" in marked[name]


def test_a_chosen_brokers_lines_are_in_sight(visit: Opener) -> None:
    """With one broker, each claim shows that broker's line without a click."""
    page = visit("patterns/work-queue/?broker=nats").page
    claims = page.locator(".experiment")
    expect(claims.first.locator("details li:visible")).to_have_count(1)
    expect(claims.first.locator("details li:visible")).to_have_attribute("data-for", "nats")
    expect(page.locator(".experiment summary:visible")).to_have_count(0)


def test_the_matrix_is_filtered(visit: Opener) -> None:
    """By what differs, of all brokers or of the chosen one, and by pattern; a mark leads on."""
    page = visit("patterns/").page
    rows = page.locator(".matrix-table tr:visible")
    box = page.locator(".matrix-filter")
    every = rows.count()
    box.get_by_role("checkbox").check()
    expect(
        page.locator(".matrix-table tr:visible:has(td):not(:has(.claim-differs))")
    ).to_have_count(0)
    differing = rows.count()
    page.locator(".broker-switch select").select_option("nats")
    expect(page.locator(".matrix-table tr:visible td.claim-holds:visible")).to_have_count(0)
    page.locator(".broker-switch select").select_option("")
    assert 1 < rows.count() == differing < every
    box.get_by_role("combobox").select_option("patterns/work_queue")
    shown = page.locator(".matrix-table tbody:visible")
    expect(shown).to_have_count(1)
    box.get_by_role("checkbox").uncheck()
    link = shown.locator("td a").first
    target = (link.get_attribute("href") or "").partition("#")[2]
    link.click()
    page.wait_for_url(f"**/patterns/work-queue/#{target}")
    expect(page.locator(f"[id='{target}']")).to_be_in_viewport()


def test_without_a_script_the_matrix_is_whole(built_site: Site) -> None:
    """The filter is hidden until a script works it, and no row is."""
    html = (built_site.folder / "patterns/index.html").read_text(encoding="utf-8")
    assert '<fieldset class="matrix-filter" hidden' in html
    assert " hidden" not in html.partition('matrix-table">')[2].partition("</table>")[0]


def _line(address: str) -> tuple[list[str], int]:
    """Return the lines of the file to which a link into the repository leads, and which one."""
    link = re.fullmatch(rf"{REPOSITORY}/blob/(main|[0-9a-f]{{40}})/(?P<path>.+)#L(\d+)", address)
    assert link, address
    return (ROOT / link["path"]).read_text(encoding="utf-8").splitlines(), int(link[3])
