"""Interactive figures and quizzes: whole, drawn by the scripts, and moved by a keyboard."""

import json
import re
import shutil
from pathlib import Path

import interactive
import pytest
import stills
from playwright.sync_api import sync_playwright
from reader.markdown import quiz

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
CHAPTERS = {
    path.stem: "".join(
        "".join(cell["source"])
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "markdown"
    )
    for path in sorted((ROOT / "book/chapters").glob("*.ipynb"))
}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_has_a_figure_and_a_quiz(chapter):
    text = CHAPTERS[chapter]
    assert re.findall(r"```\{quiz\} (\w+)", text) == [chapter]
    figures = re.findall(r"```\{interactive\} (\w+)", text)
    assert figures
    assert set(figures) <= set(interactive.FIGURES)


@pytest.mark.parametrize("chapter", interactive.QUIZZES)
def test_a_quiz_has_five_questions_with_one_right_answer(chapter):
    questions = interactive.QUIZZES[chapter]
    assert len(questions) == 5
    for question in questions:
        assert sum(bool(option.get("right")) for option in question["options"]) == 1
        notes = [option["note"] for option in question["options"]]
        assert len(set(notes)) == len(notes) > 2
    places = [[bool(o.get("right")) for o in q["options"]].index(True) for q in questions]
    assert len(set(places)) > 1  # not always the same letter
    assert "\n".join(quiz(chapter)).count("<details>") == 5


@pytest.mark.parametrize("name", interactive.FIGURES)
def test_a_figure_has_its_still_and_its_words(name):
    figure = interactive.FIGURES[name]
    assert 0 <= figure["answer"] < len(figure["options"])
    assert len(figure["alt"]) > 40
    assert figure["alt"] in interactive.figure_html(name, "../")
    assert "<path" in (ROOT / f"book/_static/stills/{name}.svg").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
def test_figures_wake_after_a_prediction_and_move_by_keyboard(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(stills.page() + interactive.quiz_html("03_hmc"))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        errors = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        for name, figure in interactive.FIGURES.items():
            root = tab.locator(f"figure[data-figure={name}]")
            slider = root.locator("input").first
            assert slider.is_disabled()
            root.locator(".question button").nth(figure["answer"]).press("Enter")
            assert root.locator(".reply").inner_text().startswith("Yes.")
            before = root.locator("svg.plot").inner_html()
            for _ in range(3):
                slider.press("ArrowLeft")
            assert root.locator("svg.plot").inner_html() != before, name
        handle = tab.locator("figure[data-figure=line] .handle").first
        height = float(handle.get_attribute("cy"))
        handle.press("ArrowUp")
        assert float(handle.get_attribute("cy")) < height
        first = tab.locator(".quiz fieldset").first
        first.locator("input").nth(1).check()
        assert "wrong" in first.locator(".reply").get_attribute("class")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert not errors
