"""The atlas: a filter, a choice of one broker, and for each answer its sentence."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup
from playwright.sync_api import expect

from handbook.answers import GROUPS, asked
from tests.site.conftest import ROOT, Opener, Site
from tests.site.test_weight import ELEMENTS

PAGE = "atlas/"


@cache
def parsed(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


@cache
def names(file: Path) -> set[str]:
    """Return the ids on a page."""
    return {str(each["id"]) for each in parsed(file).select("[id]")}


def test_every_answer_has_a_name_and_leads_to_its_sentence(built_site: Site) -> None:
    soup = parsed(built_site.folder / PAGE / "index.html")
    cells = soup.select(".atlas-matrix td")
    assert len(cells) == 6 * len(asked(ROOT))
    assert not [cell for cell in cells if not cell.get_text(strip=True)]
    expected = {
        answer.anchor for one in asked(ROOT) for its in one.answers.values() for answer in its
    }
    assert {str(each["id"]) for each in soup.select(".atlas-matrix td a[id]")} == expected
    missing = []
    for link in soup.select(".atlas-matrix a"):
        to = urlsplit(urljoin(built_site.address + PAGE, str(link["href"])))
        file = built_site.folder / to.path.strip("/") / "index.html"
        if to.fragment and to.fragment not in names(file):
            missing.append(to.path + "#" + to.fragment)
    assert missing == []
    assert len(soup.find_all(True)) < ELEMENTS


def test_the_atlas_is_filtered_by_group_by_loss_and_by_broker(visit: Opener) -> None:
    """Without a reload; the switch of brokers leaves one column."""
    page = visit(PAGE).page
    box = page.locator(".matrix-filter")
    groups = page.locator(".atlas-matrix tbody:visible")
    expect(groups).to_have_count(len(GROUPS))
    box.get_by_label("Group").select_option(label="Limits")
    expect(groups).to_have_count(1)
    questions = groups.locator("tr:has(td):visible")
    every = sum(one.group == "Limits" for one in asked(ROOT))
    expect(questions).to_have_count(every)
    expect(box.get_by_role("status")).to_have_text(f"{every} questions")
    box.get_by_label("only with ✗").check()
    expect(questions.filter(has_not=page.locator(".claim-differs"))).to_have_count(0)
    page.get_by_label("Broker", exact=True).select_option("nats")
    expect(page.locator(".atlas-matrix thead th:visible")).to_have_text(["Question", "NATS"])
    expect(
        questions.filter(has_not=page.locator("td[data-for=nats] .claim-differs"))
    ).to_have_count(0)


def test_without_a_script_the_atlas_is_whole(built_site: Site) -> None:
    html = (built_site.folder / PAGE / "index.html").read_text(encoding="utf-8")
    assert '<fieldset class="matrix-filter" hidden' in html
    assert (
        " hidden" not in html.partition('<table class="atlas-matrix">')[2].partition("</table>")[0]
    )


def test_the_twin_of_a_group_has_its_table_and_its_sentences(built_site: Site) -> None:
    for name, file in GROUPS.items():
        text = (built_site.folder / file.removesuffix(".md") / "index.md").read_text("utf-8")
        assert "| Question | RabbitMQ | Kafka | NATS | Redis | MQTT | PostgreSQL |" in text
        for one in asked(ROOT):
            if one.group == name:
                assert f"\n## {one.asks}\n" in text
