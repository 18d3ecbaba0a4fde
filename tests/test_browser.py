"""The built pages in a real browser: no request to another host, no accessibility errors, and
no page that is heavy, slow to show, or wider than a phone.
"""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
HTML = ROOT / "_build" / "html"
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PAGES = [
    *(f"chapters/{path.stem}" for path in sorted((ROOT / "book/chapters").glob("*.ipynb"))),
    *(f"howto/{path.stem}" for path in sorted((ROOT / "book/howto").glob("*.md"))),
    *(f"api/{path.stem}" for path in sorted((ROOT / "book/api").glob("*.md"))),
    *(
        "index",
        "setup",
        "notation",
        "references",
        "performance",
        "glossary",
        "corrections",
        "status",
    ),
    "bibliography",
]
HEAVIEST = 3_000_000  # bytes of a page with all that it asks for, as they lie on the disk
SLOWEST = 1000  # ms to the first contentful paint
ASKED = """["navigation", "resource"].flatMap(t => performance.getEntriesByType(t))
    .map(entry => new URL(entry.name)).filter(url => url.protocol == "http:")
    .map(url => decodeURIComponent(url.pathname))"""
# marks one element for each way in which text is drawn: its colour, size and weight on its grounds
ONE_OF_EACH = """within => {
    const grounds = new Map(), seen = new Set();
    const ground = e => {
        if (!e) return "";
        if (!grounds.has(e)) {
            const s = getComputedStyle(e);
            grounds.set(e, [ground(e.parentElement), s.backgroundColor, s.opacity].join());
        }
        return grounds.get(e);
    };
    for (const e of document.querySelectorAll(`${within} *`)) {
        e.removeAttribute("data-drawn");
        if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())) continue;
        if (!e.checkVisibility({visibilityProperty: true})) continue;
        const s = getComputedStyle(e);
        const drawn = [ground(e), s.color, s.fontSize, s.fontWeight].join();
        if (!seen.has(drawn)) e.setAttribute("data-drawn", "");
        seen.add(drawn);
    }
}"""
# interactive figures wake up, and quizzes reply
ANSWERED = """document.querySelectorAll(
    ".interactive .question button:first-of-type, .quiz label:first-of-type input"
).forEach(e => e.click())"""
PAINTED = """new Promise(done => new PerformanceObserver(list => list.getEntries()
    .filter(e => e.name == "first-contentful-paint").forEach(e => done(e.startTime)))
    .observe({type: "paint", buffered: true}))"""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path"),
    pytest.mark.skipif(
        not (HTML / "index.html").is_file() and not os.environ.get("BNNBOOK_REQUIRE_BOOK"),
        reason="the book has not been built; make book runs these tests after the build",
    ),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the server out of the test's output."""


@pytest.fixture(scope="module")
def site():
    handler = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/book"
        server.shutdown()


@pytest.fixture(scope="module")
def context():
    """One browser for all pages; every host but this one is unknown to it."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser.new_context(color_scheme="light")
        browser.close()


@pytest.fixture
def page(context):
    page = context.new_page()
    yield page
    page.close()


def grave(page, options, context=None):
    """Serious and critical findings of axe, by rule."""
    options = {"resultTypes": ["violations"]} | options
    found = Axe().run(page, context, options).response["violations"]
    # docutils calls a bibliography a list and its entries none; not ours to mend
    found = [v for v in found if any("citation-list" not in n["html"] for n in v["nodes"])]
    found = [v for v in found if v["impact"] in ("serious", "critical")]
    return {v["id"]: [node["html"][:120] for node in v["nodes"]][:4] for v in found}


def pale(page, within="body"):
    """Text of too little contrast, asked of one element for each way in which text is drawn."""
    page.evaluate(ONE_OF_EACH, within)
    only = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    return grave(page, only, {"include": [["[data-drawn]"]]})


def show(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")


def weight(path):
    """Bytes of a file of the site."""
    file = HTML / path.lstrip("/")
    return file.stat().st_size if file.is_file() else 0


def sideways(page):
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def cut(page):
    """Displayed equations and code that their column cuts, and how much of them."""
    return page.evaluate("""[...document.querySelectorAll(
        "article mjx-container[display], article .cell_input pre")]
        .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 2)
        .map(e => [e.textContent.trim().slice(0, 60), e.scrollWidth - e.clientWidth])""")


@pytest.mark.parametrize("name", PAGES)
def test_page(site, page, name):
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{site}/{name}.html", wait_until="load")
    page.add_style_tag(content="*, ::before, ::after { transition: none !important }")
    page.evaluate("window.MathJax?.startup?.promise")
    assert not name.startswith(("chapters", "howto")) or not cut(page)
    page.evaluate(ANSWERED)
    assert page.locator(".interactive .controls:disabled, .quiz .reply:empty").count() == 0
    show(page, "light")
    assert not grave(page, {"rules": {"color-contrast": {"enabled": False}}})
    assert not pale(page)
    show(page, "dark")
    assert not pale(page), "in the dark theme"
    assert sideways(page) <= 0, "the page scrolls sideways"
    page.set_viewport_size({"width": 390, "height": 844})
    assert sideways(page) <= 0, "the page scrolls sideways on a phone"
    own = ("http://127.0.0.1", "data:", "blob:")
    assert not [url for url in requests if not url.startswith(own)], "requests to another host"
    assert not errors, "errors in scripts"
    assert 0 < sum(map(weight, set(page.evaluate(ASKED)))) <= HEAVIEST


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_at_once(page, name):
    """Opened from the disk, as a reader opens it; a busy machine may try ten times."""
    path = HTML / "book" / f"{name}.html"
    for _ in range(10):
        page.goto(path.as_uri(), wait_until="commit")
        if page.evaluate(PAINTED) < SLOWEST:
            return
    pytest.fail(f"first contentful paint after more than {SLOWEST} ms")


def test_a_hidden_fault_is_found(page):
    """The checks see grey on grey, in the dark theme alone, and a page that is too wide."""
    page.set_content(
        "<!doctype html><html lang=en><title>t</title><style>html[data-theme=dark] p"
        " { color: #777; background: #666 }</style><main><h1>h</h1><p>words</p></main>"
    )
    show(page, "light")
    assert not grave(page, {})
    assert not pale(page)
    show(page, "dark")
    assert set(pale(page)) == {"color-contrast"}
    assert sideways(page) <= 0
    page.evaluate("document.querySelector('p').style.width = '3000px'")
    assert sideways(page) > 0
