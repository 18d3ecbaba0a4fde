"""The built pages in a real browser: no request to another host, and no accessibility errors."""

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
    *("index", "setup", "notation", "glossary", "corrections", "status", "bibliography"),
]

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
def browser():
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page(site, browser, name, scheme):
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    elsewhere, errors = [], []

    def route(request):
        if request.request.url.startswith(("http://127.0.0.1", "data:", "blob:")):
            request.continue_()
        else:
            elsewhere.append(request.request.url)
            request.abort()

    page.route("**/*", route)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{site}/{name}.html", wait_until="load")
    page.evaluate(f"document.documentElement.dataset.theme = '{scheme}'")
    page.wait_for_timeout(300)
    found = Axe().run(page).response["violations"]
    # docutils calls a bibliography a list and its entries none; not ours to mend
    found = [v for v in found if any("citation-list" not in n["html"] for n in v["nodes"])]
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    context.close()
    assert not elsewhere, "requests to another host"
    assert not errors, "errors in scripts"
    assert not {v["id"]: [node["html"][:120] for node in v["nodes"]][:4] for v in grave}
    assert wide <= 0, "the page scrolls sideways"
