"""One look for all figures: sizes, colours of classes, and one style for each method by its name.

Every method has its colour, line and marker in one table, so that it looks the same wherever it is
drawn. No two have the same line and marker, so that a figure can be read without colour.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from bnnbook.checks import positive_int, positive_number

__all__ = [
    "CLASS_COLOURS",
    "CLASS_MARKERS",
    "LINES",
    "LINE_STYLES",
    "METHODS",
    "PAGE_WIDTH",
    "PROBABILITY",
    "MethodStyle",
    "line_of",
    "method_style",
    "method_styles",
    "numbered_style",
    "panels",
    "points_of",
    "use_or_make",
    "use_style",
]

PAGE_WIDTH = 6.7
"""Width of a figure in inches: a page's column of text, at 100 dots an inch."""
CLASS_COLOURS = ("#0072B2", "#D55E00")
"""Colours of class 0 and class 1."""
CLASS_MARKERS = ("o", "^")
"""Markers of class 0 and class 1."""
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
"""Colours of lines that stand for no method, in their order."""
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
"""Styles of lines that stand for no method, in their order."""
MARKERS = "os^Dv"
# by marker: of thirty styles no two have the same colour and line, colour and marker, or line and
# marker, and the first six have six lines
LINE_SHIFTS = (0, 1, 2, 4, 5)
PROBABILITY = LinearSegmentedColormap.from_list(
    "probability", [CLASS_COLOURS[0], "#9ecae1", "#f7f7f7", "#fdc99b", CLASS_COLOURS[1]]
)
"""Colour map of a probability of class 1, from class 0's colour to class 1's."""


class MethodStyle(NamedTuple):
    """How a method is drawn, and the names by which it is known (a regular expression)."""

    color: str
    linestyle: Any
    marker: str
    names: str


SOLID, DASHED, LONG, DOTTED, SPARSE = "-", (0, (4, 1.5)), (0, (9, 2)), (0, (1, 1.2)), (0, (1, 3))
DASH_DOT, DASH_DOT_DOT = (0, (6, 1.5, 1, 1.5)), (0, (6, 1.5, 1, 1.5, 1, 1.5))
TWO_DASHES = (0, (7, 1.5, 3, 1.5))
METHODS = {
    "full rank": MethodStyle("#332288", DASH_DOT, "D", r"full[- ]?rank"),
    "pSGLD": MethodStyle("#9C80D4", DOTTED, "<", r"psgld|preconditioned sgld"),
    "SGHMC": MethodStyle("#E3549B", DASH_DOT, ">", r"sghmc"),
    "SGLD": MethodStyle("#6A3D9A", DASHED, "v", r"sgld"),
    "SG-MCMC": MethodStyle("#C2268E", DASH_DOT_DOT, "*", r"sg-?mcmc"),
    "MCLMC": MethodStyle("#B03A48", TWO_DASHES, "H", r"mclmc"),
    "tempering": MethodStyle("#882255", DASH_DOT_DOT, "v", r"temper\w*"),
    "NUTS": MethodStyle("#000000", SOLID, "o", r"nuts|no-u-turn"),
    "HMC": MethodStyle("#6E6E6E", DASHED, "^", r"hmc|hamiltonian"),
    "Pathfinder": MethodStyle("#4F6BD8", LONG, "8", r"pathfinder"),
    "Laplace": MethodStyle("#14978A", TWO_DASHES, ">", r"laplace"),
    "SWAG": MethodStyle("#5B9A1B", SOLID, "<", r"swag"),
    "dropout": MethodStyle("#A0622D", DOTTED, "p", r"dropout"),
    "ensemble": MethodStyle("#117733", LONG, "h", r"ensembles?"),
    "MAP": MethodStyle("#C98200", DOTTED, "P", r"map|map network|maximum a posteriori"),
    "MLE": MethodStyle("#8A7A00", SPARSE, "X", r"mle|maximum likelihood"),
    "RMSprop": MethodStyle("#5F8A8B", DOTTED, "X", r"rmsprop|adam|sgd|plain network"),
    "plug-in": MethodStyle("#B8860B", LONG, "d", r"plug-?in"),
    "mean field": MethodStyle("#2E8BC9", DASHED, "s", r"mean[- ]?field|advi|svi|variational"),
    "oracle": MethodStyle("#404040", SPARSE, "*", r"oracle|truth|true .*"),
    "prior": MethodStyle("#8C8C8C", LONG, ".", r"priors?"),
}  # fmt: skip
"""Style of each method. The first whose names are found in a label has it, so the narrower stand
before the wider."""


def method_style(name: str) -> dict[str, Any]:
    """Colour, line and marker of a method, as keywords of Matplotlib's ``plot``.

    The method is found by name wherever it stands in ``name``: "NUTS", "NUTS, 4 chains", "deep
    ensemble". A name that holds no method of the table has a style too, chosen by its letters.

    Examples
    --------
    >>> method_style("NUTS")
    {'color': '#000000', 'linestyle': '-', 'marker': 'o'}
    >>> method_style("deep ensemble") == method_style("ensemble")
    True
    """
    return method_styles([name])[0]


def method_styles(names: Iterable[str]) -> list[dict[str, Any]]:
    """Styles of the methods of one figure, in their order, no two with the same line and marker.

    A method has the style of :func:`method_style`. Where two names are of one method ("NUTS" and
    "NUTS, homoskedastic"), the later ones keep its colour and have another line and marker. Names
    of no method come last in the choice of colours, and take one that is not there yet.

    Examples
    --------
    >>> first, second = method_styles(["NUTS", "NUTS, short"])
    >>> first["color"] == second["color"], first["linestyle"] == second["linestyle"]
    (True, False)
    """
    labels = [str(name) for name in names]
    found: dict[int, dict[str, Any]] = {}
    methods = [next((m for m in METHODS.values() if _is_in(m.names, x)), None) for x in labels]
    for i in sorted(range(len(labels)), key=lambda i: methods[i] is None):
        method, used = methods[i], list(found.values())
        if method is None:
            start = zlib.crc32(labels[i].encode())
            options = [numbered_style((start + k) % 30) for k in range(30)]
            kinds = [_kind(u["linestyle"]) for u in used]
            options.sort(
                key=lambda o: (
                    _kind(o["linestyle"]) in kinds,
                    any(_alike(o["color"], u["color"]) for u in used),
                )
            )
        else:
            first = {"color": method.color, "linestyle": method.linestyle, "marker": method.marker}
            options = [first, *({**first, **_without_colour(k)} for k in range(30))]
        lines = [(u["linestyle"], u["marker"]) for u in used]
        found[i] = next(
            (o for o in options if (o["linestyle"], o["marker"]) not in lines), options[0]
        )
    return [found[i] for i in range(len(labels))]


def numbered_style(i: int) -> dict[str, Any]:
    """Colour, line and marker of number ``i`` of things that have no names, such as chains.

    The first thirty differ from each other, each in two of the three.
    """
    return {"color": LINES[i % len(LINES)], **_without_colour(i)}


def line_of(style: dict[str, Any]) -> dict[str, Any]:
    """A style without its marker, for lines through many points."""
    return {key: value for key, value in style.items() if key != "marker"}


def points_of(style: dict[str, Any]) -> dict[str, Any]:
    """A style without its line, for points in no order."""
    return {**style, "linestyle": "none"}


def use_style() -> None:
    """Set the book's Matplotlib style for the session: type of one size, figures a page wide."""
    plt.rcParams.update(
        {
            "axes.grid": False,
            "axes.prop_cycle": cycler(color=LINES) + cycler(linestyle=LINE_STYLES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.figsize": (PAGE_WIDTH, 0.5 * PAGE_WIDTH),
            "font.size": 10.5,
            "legend.fontsize": "medium",
            "legend.frameon": False,
        }
    )


def panels(
    n: int, *, columns: int | None = None, width: float = PAGE_WIDTH, height: float | None = None,
    least: float = 2.1, **kwargs: Any,
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """A figure of ``n`` panels no wider than the page; rows are added where they would not fit.

    Parameters
    ----------
    n : int
        Number of panels.
    columns : int, optional
        Panels in a row; by default as many as fit, in rows of about equal length (four panels:
        two by two).
    width : float
        Of the figure, in inches.
    height : float, optional
        Of one row, in inches; by default .8 of a panel's width, at least 2 inches for a single row.
    least : float
        Width of the narrowest panel that is still to be read, in inches.
    **kwargs
        For ``plt.subplots``, such as ``sharex``.

    Returns
    -------
    figure, axes
        ``axes`` has shape (n,).

    Examples
    --------
    >>> figure, axes = panels(4)
    >>> len(axes), axes[0].get_gridspec().get_geometry()
    (4, (2, 2))
    >>> plt.close(figure)
    """
    n, width = positive_int("n", n), positive_number("width", width)
    if columns is None:
        fit = max(1, int(width / positive_number("least", least)))
        columns = math.ceil(n / math.ceil(n / fit))
    columns = min(positive_int("columns", columns), n)
    rows = math.ceil(n / columns)
    if height is None:
        height = 0.8 * width / columns
        height = min(max(height, 2.0), 0.55 * width) if rows == 1 else height
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, rows * height), squeeze=False, **kwargs
    )
    for ax in axes.ravel()[n:]:
        ax.remove()
    return figure, axes.ravel()[:n]


def use_or_make(axes: Sequence[Axes] | None, n: int, **kwargs: Any) -> Sequence[Axes]:
    """The axes given, or those of a new figure of ``n`` panels."""
    return list(panels(n, **kwargs)[1]) if axes is None else axes


def _without_colour(i: int) -> dict[str, Any]:
    marker = i % len(MARKERS)
    line = (i + LINE_SHIFTS[marker]) % len(LINE_STYLES)
    return {"linestyle": LINE_STYLES[line], "marker": MARKERS[marker]}


def _is_in(names: str, label: str) -> bool:
    return re.search(rf"(?<![a-z])(?:{names})(?![a-z])", label.lower()) is not None


def _kind(linestyle: Any) -> str:
    return linestyle if isinstance(linestyle, str) else "--"  # any pattern of dashes


def _alike(first: str, second: str) -> bool:
    return float(np.linalg.norm(np.subtract(to_rgb(first), to_rgb(second)))) < 0.4
