"""Every page of the site in a real browser: ``make docs`` runs this when the site is built."""

import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import npnn

SITE = Path(__file__).parents[1] / "build/site"
PAGES = sorted(page for page in SITE.rglob("*.html") if "_static" not in page.parts)
SOURCES = ("_modules", "genindex")  # listings, which no reader is led through
READ = [page for page in PAGES if not str(page.relative_to(SITE)).startswith(SOURCES)]
SHARES = 2  # of the pages, each for a worker with a browser of its own
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (1280, 400)
UNRENDERED = (":math:", ".. math", "\\frac", "\\begin{", "$$")


class Links(HTMLParser):
    """The places of a page, and what it leads to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.places, self.leads = {"", "top"}, []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places.add(given.get("id") or given.get("name") or "")
        self.leads += [given[name] for name in ("href", "src") if given.get(name)]


LINKS = {page: Links(page) for page in PAGES}


def test_the_site_is_built():
    assert len(PAGES) > 100, "run make docs"


def test_each_public_name_has_its_page():
    pages = {page.stem.rpartition(".")[2] for page in (SITE / "reference/generated").iterdir()}
    things = {name for name in npnn.__all__ if callable(getattr(npnn, name))}
    assert things - pages == set()


def test_no_link_leads_nowhere():
    dead = []
    for page, links in LINKS.items():
        for lead in links.leads:
            parts = urlsplit(lead)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.exists():
                dead.append(f"{page.relative_to(SITE)}: {lead}")
            elif "_modules" in page.parts:  # viewcode knows one name for all of a file
                continue
            elif target in LINKS and unquote(parts.fragment) not in LINKS[target].places:
                dead.append(f"{page.relative_to(SITE)}: {lead} (no such place)")
    assert not dead, "\n".join(sorted(set(dead)))


def test_nothing_is_fetched_from_elsewhere():
    for page in PAGES:
        text = page.read_text()
        for asked in ('src="http', 'src="//', '<link rel="stylesheet" href="http'):
            assert asked not in text, page
        assert str(SITE.parents[1]) not in text, page  # nor does it say where it was built


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path)
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: {error}")
        yield browser
        browser.close()


# What is wrong with a page, whatever the width of its window.
LOOK = """() => {
    const a = document.querySelector('article') || document.body;
    const copy = a.cloneNode(true);
    copy.querySelectorAll('pre, code, math').forEach(e => e.remove());
    const marks = [...a.querySelectorAll('mo')].filter(o => o.textContent === '\\u0332').length;
    return [copy.textContent, a.querySelectorAll('merror').length + marks,
        [...a.querySelectorAll('img')].filter(i => i.complete && !i.naturalWidth).length];
}"""
FIT = """() => [
    [...(document.querySelector('article') || document.body).querySelectorAll('math')].filter(
        m => !m.getBoundingClientRect().width && !m.closest('details')).length,
    document.documentElement.scrollWidth - window.innerWidth,
    [...document.querySelectorAll('.prev-next-area a')].filter(
        a => a.scrollWidth > a.clientWidth + 1).length]"""


@pytest.mark.parametrize("share", range(SHARES))
def test_each_page_opens_without_a_fault(browser, share):
    faults, current = [], ""
    tab = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})
    tab.on("console", lambda m: m.type == "error" and faults.append(f"{current}: {m.text}"))
    tab.on("pageerror", lambda error: faults.append(f"{current}: {error}"))
    tab.on("requestfailed", lambda r: faults.append(f"{current}: {r.url} is not there"))
    for number, page in enumerate(READ[share::SHARES]):
        current = str(page.relative_to(SITE))
        tab.goto(page.as_uri())
        text, wrong, broken = tab.evaluate(LOOK)
        faults += [f"{current}: {mark} stands as it is" for mark in UNRENDERED if mark in text]
        faults += [f"{current}: {wrong} formulas with errors"] * bool(wrong)
        faults += [f"{current}: {broken} pictures are broken"] * bool(broken)
        for width in WIDTHS[:: -1 if number % 2 else 1]:  # a page is brought to the other once
            if width != tab.viewport_size["width"]:
                tab.set_viewport_size({"width": width, "height": 900})
            unseen, over, cut = tab.evaluate(FIT)
            faults += [f"{current}: {unseen} formulas are not drawn, {width} wide"] * bool(unseen)
            faults += [f"{current}: {over} pixels wider than a window of {width}"] * (over > 1)
            faults += [f"{current}: {cut} names of pages are cut, {width} wide"] * bool(cut)
    assert not faults, "\n".join(faults)


def test_the_search_finds_without_a_network(browser):
    tab = browser.new_page()
    tab.goto(f"{(SITE / 'search.html').as_uri()}?q=softmax")
    tab.wait_for_selector("#search-results li", timeout=20_000)
    assert "Softmax" in tab.inner_text("#search-results")
