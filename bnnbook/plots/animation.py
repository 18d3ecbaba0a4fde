"""Surfaces that move, with a still and a text for those who cannot see or want no motion."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from bnnbook.plots.classification import Grid, surface_panels

__all__ = ["Animation", "animate_surface"]


@dataclass(frozen=True)
class Animation:
    """An animated GIF with its text alternative and a still for print.

    Shown as the GIF on screen (as the still where the reader asks for less motion), and as the
    still where HTML cannot be shown.
    """

    gif: bytes = field(repr=False)
    still: bytes = field(repr=False)
    alt: str
    frames: int

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        still, gif = (base64.b64encode(data).decode() for data in (self.still, self.gif))
        markup = (
            "<details open><summary>Animation (select to hide)</summary><picture>"
            '<source media="(prefers-reduced-motion: reduce)" '
            f'srcset="data:image/png;base64,{still}">'
            f'<img src="data:image/gif;base64,{gif}" alt="{html.escape(self.alt)}">'
            "</picture></details>"
        )
        return {"text/html": markup, "image/png": still, "text/plain": self.alt}


def animate_surface(
    where: Grid,
    surfaces: Any,
    titles: Sequence[str],
    *,
    alt: str,
    data: tuple[np.ndarray, np.ndarray] | None = None,
    seconds: float = 0.3,
    max_bytes: int = 3_000_000,
) -> Animation:
    """Animate class-1 probabilities over the plane, one frame after another.

    Parameters
    ----------
    where : Grid
    surfaces : array (frame, n * n)
        Probabilities at the grid's points.
    titles : sequence of str
        One per frame.
    alt : str
        Text alternative: what the animation shows, to somebody who cannot see it.
    data : (points (n, 2), labels (n,)), optional
        Drawn on every frame.
    seconds : float
        Time for each frame.
    max_bytes : int
        Limit on the size of the GIF.

    Raises
    ------
    ValueError
        If there are no frames, their number and that of titles differ, ``alt`` is empty, or the GIF
        is larger than ``max_bytes``.
    """
    images = np.asarray(surfaces)
    if images.ndim != 2 or len(images) == 0:
        raise ValueError(f"surfaces must have shape (frame, n * n), got {images.shape}")
    if len(titles) != len(images):
        raise ValueError(f"titles must name all {len(images)} frames, got {len(titles)}")
    if not alt.strip():
        raise ValueError("alt must describe the animation, got an empty text")
    pictures = []
    for image, title in zip(images, titles, strict=True):
        fig = Figure(figsize=(5, 4.2), dpi=90, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(fig)
        surface_panels(where, {title: image}, axes=[fig.subplots()], data=data)
        canvas.draw()
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    gif, still = io.BytesIO(), io.BytesIO()
    # one palette for all frames, or colours would flicker from one to the next
    first = pictures[0].quantize(128)
    paletted = [picture.quantize(palette=first, dither=Image.Dither.NONE) for picture in pictures]
    paletted[0].save(
        gif, "GIF", save_all=True, append_images=paletted[1:], duration=round(1000 * seconds),
        loop=0, optimize=True,
    )  # fmt: skip
    if gif.tell() > max_bytes:
        raise ValueError(f"the GIF must be at most {max_bytes} bytes, got {gif.tell()}")
    pictures[-1].save(still, "PNG")
    return Animation(gif.getvalue(), still.getvalue(), alt, len(pictures))
