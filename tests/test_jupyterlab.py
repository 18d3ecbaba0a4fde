"""Readers' copies in a real JupyterLab: opened, run and saved by a headless Chromium.

Chapter 0 and the bars of two fits; with ``BNNBOOK_LAB=all`` every chapter, which takes as long as
all of them at quick budget.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright
from reader.notebook import write_edition
from test_browser import grave, pale

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
CHAPTERS = sorted(path.stem for path in (ROOT / "book" / "chapters").glob("*.ipynb"))
OPENED = CHAPTERS if os.environ.get("BNNBOOK_LAB") == "all" else CHAPTERS[:1]
RAW = re.compile(
    r"\{[\w:-]+\}`|:::\{|```\{|^:(?:label|class|name|alt):|^\([\w-]+\)=|<!--", re.MULTILINE
)
# what a copy shows, and not the frame that JupyterLab puts around it
SHOWN = ".jp-RenderedMarkdown"
# that the checks find: a link without words, and text that is dark grey in both themes; beside the
# first cell, since what is put into a cell is gone when that is rendered again
PLANTED = "<a href='x'></a><p style='color: #555'>words</p>"
FAULTS = f"""within => document.querySelector(within).closest(".jp-Cell").insertAdjacentHTML(
    "beforebegin", "<div class='jp-RenderedMarkdown'>{PLANTED}</div>")"""
# JupyterLab's document has no height of its own, and so for axe no text that is seen
TALL = "html, body { overflow: visible !important }"
BARS = """
import numpy as np
import pymc as pm
from bnnbook import inference

with pm.Model() as model:
    x = pm.Data("x", np.ones(40))
    m = pm.Normal("m", 0, 1)
    pm.Normal("obs", m * x, 1, observed=np.ones(40))
sgld = inference.sgld(1e-3)
fit = inference.sample_sgmcmc(model, sgld, draws=50, tune=50, chains=2, seed=0)
inference.fit_advi(model, 200, learning_rate=0.05, seed=0);
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Copies of all chapters, and a notebook that draws bars."""
    folder = tmp_path_factory.mktemp("lab")
    write_edition(ROOT, folder, "lab")
    cells = [nbformat.v4.new_code_cell(BARS.strip())]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "bars.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(folder, tmp_path_factory):
    """Address of a JupyterLab that shows every cell of a notebook at once."""
    settings = tmp_path_factory.mktemp("settings")
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}", "--allow-root",
        "--IdentityProvider.token=", f"--notebook-dir={folder}", "--LabApp.news_url=None",
        "--expose-app-in-browser", "--LabApp.check_for_updates_class="
        "jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    env = {
        **os.environ, "BNNBOOK_FAST": "1", "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(settings), "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }  # fmt: skip
    log = settings / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"{url}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def tracked():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return ""
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def text_in_view(page):
    """All text cells of the notebook that is open, once they are rendered."""
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("!document.querySelector('.jp-MarkdownOutput:empty')")
    return "\n".join(page.locator(".jp-RenderedMarkdown").all_inner_texts())


def settle(page, promise):
    """Wait for a promise that the page keeps: one that it does not keep may be collected first."""
    page.evaluate(f"""window.settled = null;
        window.kept = {promise}.then(() => {{ settled = "well" }}, e => {{ settled = String(e) }});
        0""")
    page.wait_for_function("settled")
    assert page.evaluate("settled") == "well"


def set_theme(page, theme):
    options = f"{{theme: '{theme}'}}"
    settle(page, f"jupyterapp.commands.execute('apputils:change-theme', {options})")
    page.wait_for_function(f"document.body.dataset.jpThemeName == '{theme}'")
    # a splash covers the notebook meanwhile, and axe judges no text that something covers
    page.wait_for_function("!document.getElementById('jupyterlab-splash')")


def inaccessible(page, within):
    """Serious and critical findings of axe in parts of a notebook, in both themes."""
    # JupyterLab's own style leaves links without a line under them, in every notebook
    off = {"color-contrast": {"enabled": False}, "link-in-text-block": {"enabled": False}}
    found = grave(page, {"rules": off}, {"include": [[within]]})
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        set_theme(page, theme)
        found |= {f"{rule}, {theme}": nodes for rule, nodes in pale(page, within).items()}
    return found


def open_run_and_save(browser, lab, name):
    """What a reader sees before the first run; then Run All, and save."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(300_000)
    page.goto(f"{lab}/lab/tree/{name}.ipynb?reset", wait_until="load")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
    text = text_in_view(page)
    page.set_default_timeout(1_200_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    page.close()
    return text


@pytest.mark.parametrize("name", OPENED)
def test_a_chapter_reads_well_and_runs_to_its_end(browser, lab, folder, name):
    before = tracked()
    text = open_run_and_save(browser, lab, name)
    assert len(text) > 3000
    assert not RAW.search(text), RAW.search(text)
    assert "Unknown Directive" not in text
    saved = json.loads((folder / f"{name}.ipynb").read_text())
    code = [cell for cell in saved["cells"] if cell["cell_type"] == "code" and cell["source"]]
    assert all(cell["execution_count"] for cell in code)  # Run All came to the last cell
    outputs = [output for cell in code for output in cell["outputs"]]
    errors = [o for o in outputs if o["output_type"] == "error"]
    assert not errors, [(o["ename"], o["evalue"]) for o in errors]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 5
    assert not any("widget-view" in key for o in outputs for key in o.get("data", {}))
    assert tracked() == before


def test_every_chapter_opens_without_raw_markup(browser, lab, folder):
    """In one session, one after the other, with nothing run; the copies on disk stay the same."""
    before = tracked()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(300_000)
    page.goto(f"{lab}/lab?reset", wait_until="load")
    page.wait_for_function("window.jupyterapp?.commands.hasCommand('docmanager:open')")
    settle(page, "jupyterapp.restored")
    page.add_style_tag(content=TALL)
    for name in CHAPTERS:
        content = (folder / f"{name}.ipynb").read_bytes()
        options = f"{{path: '{name}.ipynb', kernelPreference: {{shouldStart: false}}}}"
        settle(page, f"jupyterapp.commands.execute('docmanager:open', {options})")
        page.wait_for_function("""[...document.querySelectorAll('.jp-RenderedMarkdown')]
            .map(e => e.innerText).join('').length > 3000""")
        text = text_in_view(page)
        title = nbformat.reads(content, 4).cells[0].source.split("\n")[0].lstrip("# ")
        assert title in text
        assert len(text) > 3000
        assert not RAW.search(text), (name, RAW.search(text))
        assert "Unknown Directive" not in text
        assert page.locator(".jp-RenderedMarkdown .jp-mod-error").count() == 0
        assert not inaccessible(page, SHOWN), name
        if name == CHAPTERS[0]:
            expected = {"link-name", "color-contrast, JupyterLab Dark"}
            page.evaluate(FAULTS, SHOWN)
            assert set(inaccessible(page, SHOWN)) == expected
        settle(page, "jupyterapp.commands.execute('application:close-all')")
        page.wait_for_function("!document.querySelector('.jp-Notebook')")
        assert (folder / f"{name}.ipynb").read_bytes() == content
    page.close()
    assert tracked() == before


def test_bars_end_at_their_total_and_are_saved_as_text(browser, lab, folder):
    open_run_and_save(browser, lab, "bars")
    (cell,) = json.loads((folder / "bars.ipynb").read_text())["cells"]
    assert not any(output["output_type"] == "error" for output in cell["outputs"])
    texts = ["".join(o["data"]["text/plain"]) for o in cell["outputs"] if "data" in o]
    bars = [re.search(r"(\d+)/(\d+)", text) for text in texts if "█" in text]
    assert len(bars) == 2
    assert all(found[1] == found[2] for found in bars), texts
    assert not any("widget" in json.dumps(output) for output in cell["outputs"])
