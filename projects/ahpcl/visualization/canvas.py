"""Figures without global state: sizes in inches, one look for all."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ahpcl.utils.text import as_utf8

INK = '#222222'
GREY = '#6b6b6b'
PALE = '#d9d9d9'
DPI = 120
_LETTER = 0.073  # inches of a letter of the note


class Canvas:
    """A figure in which places are inches from the top left of its content.

    What is placed in inches does not overlap by chance: every part knows its
    height. Nothing here touches matplotlib's global state.

    Args:
        width: Width of the figure, in inches.
        height: Height of the content below title and note, in inches.
        title: What is shown.
        note: Parts of a line below the title, of how many images, from
            where; empty ones are left out, and a long line is broken.

    Attributes:
        figure: The figure.
        width: Width of the figure, in inches.
        height: Height of the content, in inches.
    """

    margin = 0.3

    def __init__(
        self, width: float, height: float, title: str, note: Sequence[str]
    ) -> None:
        letters = int((width - 2 * self.margin) / _LETTER)
        lines = textwrap.wrap('; '.join(filter(None, note)), letters)
        self._top = 0.62 + 0.17 * len(lines)
        self.width = width
        self.height = height
        self.figure = Figure(
            figsize=(width, self._top + height + self.margin),
            dpi=DPI,
            facecolor='white',
        )
        self._whole = self._top + height + self.margin
        top = -self._top
        self.text(self.margin, top + 0.38, title, size=12, weight='bold')
        for row, line in enumerate(lines):
            y = top + 0.61 + 0.17 * row
            self.text(self.margin, y, line, size=8.5, color=GREY)

    def text(
        self, x: float, y: float, text: str, *, size: float = 8, **style: str
    ) -> None:
        """Write a line; ``y`` is its base line."""
        style = {'color': INK, 'va': 'baseline', **style}
        place = x / self.width, 1 - (self._top + y) / self._whole
        self.figure.text(*place, as_utf8(text), fontsize=size, **style)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes whose top left corner is at (x, y)."""
        return self.figure.add_axes(
            (
                x / self.width,
                1 - (self._top + y + height) / self._whole,
                width / self.width,
                height / self._whole,
            )
        )


def tidy(axes: Axes, *, grid: bool = True) -> None:
    """Draw thin spines, small ticks and a pale grid."""
    axes.tick_params(labelsize=8, colors=GREY, width=0.6, length=3)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ('left', 'bottom'))
        spine.set_color(PALE)
    if grid:
        axes.grid(True, color='#ececec', linewidth=0.6)
        axes.set_axisbelow(True)
    axes.xaxis.label.set(fontsize=8, color=INK)
    axes.yaxis.label.set(fontsize=8, color=INK)


def heading(axes: Axes, text: str) -> None:
    """Return a title of axes, at their left."""
    axes.set_title(text, loc='left', fontsize=9, color=INK, pad=6)


def count(number: int, what: str = 'image', many: str | None = None) -> str:
    """Return '1 image', or '4,800 images'."""
    return f'{number:,} {what if number == 1 else many or what + "s"}'
