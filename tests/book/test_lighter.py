"""Pages load the icons that they show, and not the two thousand that the theme brings; no index of
the search; and figures with a palette, where nobody sees it.
"""

import io
import re

import numpy as np
import pytest
from lighter import (
    ICON,
    ICONS,
    RULE,
    RULES,
    THEME,
    few_colours,
    with_icons,
    with_rules,
    without_search,
)
from PIL import Image

WHOLE = (THEME / ICONS).read_text(encoding="utf-8")


def names(script):
    return {icon["quoted"] or icon["bare"] for icon in ICON.finditer(script)}


def test_icons_that_are_named_stay():
    kept = with_icons(WHOLE, {"angle-down", "github", "navicon"})
    assert names(kept) == {"angle-down", "github", "bars"}  # navicon is another name of bars
    assert len(kept) < len(WHOLE) / 10


def test_all_icons_are_found():
    assert len(names(WHOLE)) > 1800
    assert not re.search(r'"[Mm][\d.]+[ \d.-]{20,}', with_icons(WHOLE, set())), "a path is left"


def test_script_with_no_icons_to_drop_is_unchanged():
    assert with_icons(WHOLE, names(WHOLE)) == WHOLE


def test_rules_of_icons_that_are_named_stay_and_all_others_of_the_theme():
    style = (THEME / RULES).read_text(encoding="utf-8")
    kept = with_rules(style, {"angle-down", "bars"})
    assert len(RULE.findall(style)) > 1000
    assert len(RULE.findall(kept)) == 2
    assert ".fa-angle-down:before" in kept
    assert RULE.sub("", kept) == RULE.sub("", style)
    assert len(style) - len(kept) > 70_000


def test_a_page_is_left_without_the_scripts_of_the_search():
    own = '<script src="../_static/doctools.js"></script>'
    names = ("../_static/searchtools.js", "../_static/language_data.js?v=1", "../searchindex.js")
    page = f"<head>{own}" + "".join(f'\n  <script src="{n}"></script>' for n in names) + "</head>"
    assert without_search(page) == f"<head>{own}</head>"
    assert without_search(own) == own


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(out, "PNG")
    return out.getvalue()


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), "int16")


def test_a_figure_of_few_colours_gets_a_palette_that_nobody_sees():
    x, y = np.meshgrid(np.arange(300), np.arange(200))
    shade = 255 - 100 * np.exp(-(((x - 150) / 60) ** 2) - ((y - 100) / 40) ** 2)
    full = png(np.stack([shade, shade, 0 * shade + 255, 0 * shade + 255], axis=-1))
    few = few_colours(full)
    assert len(few) < len(full)
    assert np.abs(pixels(few) - pixels(full)).max() <= 3
    assert few_colours(few) == few


@pytest.mark.parametrize("case", ["many colours", "see-through"])
def test_a_figure_that_would_look_different_stays(case):
    RNG = np.random.default_rng(0)
    colours = RNG.integers(0, 255, size=(120, 120, 4))
    colours[..., 3] = 255 if case == "many colours" else 128
    assert few_colours(png(colours)) == png(colours)
