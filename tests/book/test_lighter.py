"""Pages load the icons that they show, and not the two thousand that the theme brings."""

import re

from lighter import ICON, ICONS, THEME, with_icons

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
