"""Draw the images of :class:`ahpcl.datasets.shapes.HierarchicalShapes`."""

import math

import numpy as np
from PIL import Image, ImageDraw

# Family -> shapes. What a family shares is its outline: smooth, straight with
# few corners, spiky, or thin strokes.
FAMILIES = {
    'round': ('disc', 'ellipse', 'half', 'drop'),
    'polygon': ('triangle', 'square', 'plank', 'trapezoid'),
    'star': ('star5', 'star4', 'star8', 'star12'),
    'stroke': ('tripod', 'cross', 'asterisk', 'tee'),
}
MARKS = ('plain', 'dot', 'slot', 'pair')

_FINE = 4  # drawn at this multiple of the size, then averaged
_CANDIDATES = 12
_MIN_CONTRAST = 75.0  # least difference in luma, of 255
_LUMA = np.array([0.299, 0.587, 0.114])

Outline = tuple[np.ndarray, ...]  # polygons (n, 2), radius about 1


def render(
    family: str,
    shape: str,
    mark: str,
    img_size: int,
    nuisance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw one image.

    Args:
        family: A key of ``FAMILIES``.
        shape: One of its shapes.
        mark: One of ``MARKS``, drawn on the shape in another colour.
        img_size: Side in px.
        nuisance: Strength of rotation, shift, scale, clutter, shading and
            noise; 0 draws the shape upright and centred. Colours are random
            at any strength.
        rng: Where all randomness comes from.

    Returns:
        uint8 array (img_size, img_size, 3), channels R, G, B.
    """
    assert shape in FAMILIES[family]
    back, fore, spot, litter = _colours(rng)
    image = _shaded(back, img_size, nuisance, rng)
    clutter = _clutter(img_size, nuisance, rng)
    if clutter is not None:
        image = _over(image, litter, clutter)
    pose = _pose(img_size, nuisance, rng)
    image = _over(image, fore, _mask(_SHAPES[shape], pose, img_size))
    if _MARKS[mark]:
        image = _over(image, spot, _mask(_MARKS[mark], pose, img_size))
    if nuisance:
        image = image + rng.normal(
            0.0, 6.0 * nuisance * rng.random(), image.shape
        )
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> np.ndarray:
    """Draw background, shape, mark and clutter colours, (4, 3).

    Shape and background, and mark and shape, differ in luma.
    """
    while True:
        drawn = rng.integers(0, 256, (_CANDIDATES, 3)).astype(float)
        luma = drawn @ _LUMA
        fore = np.nonzero(abs(luma - luma[0]) > _MIN_CONTRAST)[0]
        if not len(fore):
            continue
        spot = np.nonzero(abs(luma - luma[fore[0]]) > _MIN_CONTRAST)[0]
        return drawn[[0, fore[0], spot[-1], _CANDIDATES - 1]]


def _shaded(
    colour: np.ndarray,
    size: int,
    nuisance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return a background with a linear gradient, (size, size, 3)."""
    slope = rng.uniform(-25.0, 25.0, 2) * nuisance
    ramp = np.linspace(-1.0, 1.0, size)
    shade = slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    return colour + shade[:, :, None]


def _clutter(
    size: int, nuisance: float, rng: np.random.Generator
) -> np.ndarray | None:
    """Return the opacity (size, size) of some short lines and specks."""
    pieces = rng.random((3, 4))
    count = round(3 * nuisance * rng.random())
    if not count:
        return None
    side = size * _FINE
    canvas = Image.new('L', (side, side))
    draw = ImageDraw.Draw(canvas)
    for x, y, angle, length in pieces[:count]:
        x, y, reach = x * side, y * side, (0.02 + 0.14 * length) * side
        turn = angle * math.tau
        end = (x + reach * math.cos(turn), y + reach * math.sin(turn))
        draw.line([(x, y), end], fill=255, width=max(1, side // 24))
    return _opacity(canvas)


def _pose(
    size: int, nuisance: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return what maps unit coordinates to the canvas: (2, 2) and (2,)."""
    turn, scale, dx, dy = rng.random(4)
    angle = nuisance * math.tau * (turn - 0.5)
    side = size * _FINE
    radius = side * (0.40 - 0.12 * nuisance * scale)
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    shift = np.array([dx - 0.5, dy - 0.5]) * 0.24 * nuisance * side
    return np.array([[cos, -sin], [sin, cos]]), side / 2.0 + shift


def _mask(
    outline: Outline, pose: tuple[np.ndarray, np.ndarray], size: int
) -> np.ndarray:
    """Return the opacity (size, size) of polygons."""
    matrix, offset = pose
    canvas = Image.new('L', (size * _FINE, size * _FINE))
    draw = ImageDraw.Draw(canvas)
    for polygon in outline:
        points = polygon @ matrix.T + offset
        draw.polygon(points.ravel().tolist(), fill=255)
    return _opacity(canvas)


def _opacity(canvas: Image.Image) -> np.ndarray:
    return np.asarray(canvas.reduce(_FINE), dtype=float) / 255.0


def _over(
    image: np.ndarray, colour: np.ndarray, opacity: np.ndarray
) -> np.ndarray:
    return image + (colour - image) * opacity[:, :, None]


def _arc(first: float, last: float, steps: int = 40) -> np.ndarray:
    """Return points on the unit circle between two angles in degrees."""
    angles = np.radians(np.linspace(first, last, steps))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _regular(corners: int, first: float = -90.0) -> np.ndarray:
    return _arc(first, first + 360.0 * (corners - 1) / corners, corners)


def _star(points: int, inner: float) -> np.ndarray:
    corners = _regular(2 * points)
    corners[1::2] *= inner
    return corners


def _box(
    width: float, height: float, x: float = 0, y: float = 0
) -> np.ndarray:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
    return corners * np.array([width, height]) / 2.0 + np.array([x, y])


def _arms(*degrees: float, width: float = 0.3) -> Outline:
    """Return bars from the centre outwards."""
    arms = []
    for degree in degrees:
        turn = math.radians(degree)
        along = np.array([math.cos(turn), math.sin(turn)])
        across = np.array([-along[1], along[0]]) * width / 2.0
        foot = -along * width / 2.0
        arms.append(
            np.stack(
                [foot + across, along + across, along - across, foot - across]
            )
        )
    return tuple(arms)


def _drop() -> np.ndarray:
    """Return a circle that runs into a rounded tip above."""
    body = _arc(-30, 210) * 0.62 + np.array([0.0, 0.3])
    tip = _arc(210, 330, 8) * 0.12 + np.array([0.0, -0.85])
    return np.concatenate([body, tip])


_SHAPES: dict[str, Outline] = {
    'disc': (_arc(0, 360) * 0.85,),
    'ellipse': (_arc(0, 360) * np.array([1.0, 0.48]),),
    'half': (_arc(180, 360) + np.array([0.0, 0.45]),),
    'drop': (_drop(),),
    'triangle': (_regular(3),),
    'square': (_box(1.45, 1.45),),
    'plank': (_box(1.9, 0.75),),
    'trapezoid': (
        np.array([[-0.45, -0.65], [0.45, -0.65], [1.0, 0.65], [-1.0, 0.65]]),
    ),
    'star5': (_star(5, 0.42),),
    'star4': (_star(4, 0.34),),
    'star8': (_star(8, 0.55),),
    'star12': (_star(12, 0.66),),
    'tripod': _arms(-90, 30, 150),
    'cross': _arms(0, 90, 180, 270),
    'asterisk': _arms(0, 60, 120, 180, 240, 300, width=0.22),
    'tee': _arms(0, 90, 180),
}
_MARKS: dict[str, Outline] = {
    'plain': (),
    'dot': (_arc(0, 360, 24) * 0.27,),
    'slot': (_box(0.8, 0.2),),
    'pair': (
        _arc(0, 360, 16) * 0.16 + np.array([-0.3, 0.0]),
        _arc(0, 360, 16) * 0.16 + np.array([0.3, 0.0]),
    ),
}
