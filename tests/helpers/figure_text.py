"""Whether the texts of a figure can be read."""

import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def texts(figure):
    """Those that are drawn."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # Ticks beyond the limits exist, and are not drawn.
            drawn = {tick.label1 for tick in axis._update_ticks()}
            drawn = drawn if axes.axison else set()
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                hidden |= {tick.label1, tick.label2} - drawn
    return [
        text
        for text in figure.findobj(Text)
        if text.get_text().strip()
        and text.get_visible()
        and text not in hidden
    ]


def assert_readable(figure):
    """No text on another, none out of the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    boxes = []
    for text in texts(figure):
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
        boxes.append((text.get_text(), box.padded(-1)))
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (one, other)
