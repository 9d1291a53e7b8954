"""How pixels of any depth and any bands become those of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from .raw_pixels import RawPixels

Pages = Literal['first', 'bands']
Span = tuple[float, float]
#: The range of a type that is chosen to be what the type may hold.
BY_TYPE = 'dtype'

# What becomes 0 and 255 where no range was chosen. Pillow reads integers of
# 16 bits as int32, too.
DTYPE_RANGES: dict[str, Span] = {
    'bool': (0, 1),
    'uint8': (0, 255),
    'int8': (0, 127),
    'uint16': (0, 65535),
    'int16': (0, 32767),
    'uint32': (0, 2**32 - 1),
    'int32': (0, 65535),
    'float16': (0.0, 1.0),
    'float32': (0.0, 1.0),
    'float64': (0.0, 1.0),
}
_LUMA = (0.299, 0.587, 0.114)  # of R, G, B


@dataclass(frozen=True)
class PixelFormat:
    """The images of a data set as numbers: bands, and what 0 and 255 are.

    It is the same for training, extraction, evaluation and new images; plain
    numbers by :meth:`as_dict`, which the options ``channels``, ``range`` and
    ``pages`` of a data set take back.

    Attributes:
        channels: Bands of every image.
        ranges: For every type of samples that has one, the values that
            become 0 and 255: one pair, one for every band, or none where it
            was chosen to be that of :data:`DTYPE_RANGES`, which others have,
            too.
        pages: ``'first'`` takes the first page of a TIFF, ``'bands'`` all of
            them as the bands of one image.
    """

    channels: int = 3
    ranges: tuple[tuple[str, tuple[Span, ...]], ...] = ()
    pages: Pages = 'first'

    @classmethod
    def of(
        cls,
        channels: int = 3,
        range: Mapping[str, Sequence | str] | None = None,
        pages: Pages = 'first',
    ) -> PixelFormat:
        """Make one of plain numbers.

        Args:
            channels: Bands.
            range: By type, ``(low, high)``, a list of such pairs, or
                ``'dtype'``.
            pages: See the class.

        Raises:
            ValueError: if a number is out of place.
        """
        ranges: list[tuple[str, tuple[Span, ...]]] = []
        for dtype, given in sorted((range or {}).items()):
            if dtype not in DTYPE_RANGES:
                raise ValueError(
                    f'expected the types of range to be some of '
                    f'{", ".join(DTYPE_RANGES)}, got {dtype!r}'
                )
            if isinstance(given, str):
                if given != BY_TYPE:
                    raise ValueError(
                        f'expected range[{dtype!r}] as (low, high) or '
                        f'{BY_TYPE!r}, got {given!r}'
                    )
                ranges.append((dtype, ()))
                continue
            pairs = [given] if np.ndim(given[0]) == 0 else given
            spans = tuple((float(low), float(high)) for low, high in pairs)
            if len(spans) not in (1, channels) or not all(
                low < high for low, high in spans
            ):
                raise ValueError(
                    f'expected range[{dtype!r}] as (low, high) with low < '
                    f'high, or one pair for each of {channels} bands, got '
                    f'{given}'
                )
            ranges.append((dtype, spans))
        if isinstance(channels, bool) or channels < 1:
            raise ValueError(
                f"expected channels of at least 1, or 'auto', got {channels!r}"
            )
        return cls(int(channels), tuple(ranges), pages)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers: ``channels``, ``range`` and ``pages``."""
        return dict(
            channels=self.channels,
            range={dtype: _plain(spans) for dtype, spans in self.ranges},
            pages=self.pages,
        )

    def digest(self) -> bytes:
        """Return 16 bytes that tell formats apart; none for the usual one."""
        # A range by the type is what is there without one.
        chosen = tuple(pair for pair in self.ranges if pair[1])
        same = replace(self, ranges=chosen)
        if same == USUAL:
            return b''
        return hashlib.blake2b(repr(same).encode(), digest_size=16).digest()

    def convert(
        self, raw: RawPixels, background: tuple[int, int, int]
    ) -> np.ndarray:
        """Convert the pixels of a file.

        Args:
            raw: The pixels.
            background: RGB colour, 0 to 255, shown through transparent ones.

        Returns:
            uint8 (H, W, channels): R, G, B where there are three, else in
            the order of the file.

        Raises:
            ValueError: if the file has fewer bands, or values that its type
                does not let one expect.
        """
        values, alpha = raw.values, raw.alpha
        if alpha and values.shape[2] == self.channels == 4:
            alpha = 0  # wanted as a band
        if not alpha:
            if values.shape[2] >= self.channels > 1:
                # Before the scaling: ranges may be of these bands.
                values = values[:, :, : self.channels]
            return self._fitted(self._scaled(values))
        colours, opacity = values[:, :, :-1], values[:, :, -1:]
        most = DTYPE_RANGES[values.dtype.name][1]
        share = np.clip(opacity.astype(np.float32) / most, 0, 1)
        pixels = self._scaled(colours).astype(np.float32)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        shown = pixels if alpha == 1 else pixels * share
        shown = shown + (1 - share) * np.array(background, np.float32)
        return self._fitted(np.rint(shown.clip(0, 255)).astype(np.uint8))

    def _fitted(self, pixels: np.ndarray) -> np.ndarray:
        """Return (H, W, channels) of 8-bit pixels (H, W, C)."""
        bands = pixels.shape[2]
        if bands == self.channels:
            return pixels
        if bands == 1 and self.channels == 3:
            return np.repeat(pixels, 3, axis=2)
        if bands == 3 and self.channels == 1:
            gray = pixels.astype(np.float32) @ np.array(_LUMA, np.float32)
            return np.rint(gray).astype(np.uint8)[:, :, None]
        if bands < self.channels:
            raise ValueError(
                f'{bands} bands, with channels={self.channels}; set channels '
                f'to {bands} or less, or leave the file out'
            )
        return pixels[:, :, : self.channels]

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Scale values (H, W, C) of any type to uint8."""
        dtype = values.dtype.name
        spans = dict(self.ranges).get(dtype)
        if not spans:
            return scaled_by_type(values)
        if len(spans) not in (1, values.shape[2]):
            raise ValueError(
                f'{values.shape[2]} bands, with a range for each of '
                f'{len(spans)}'
            )
        low, high = np.array(spans, np.float64).T
        wide = values.astype(np.float64)
        wide -= low
        wide *= 255.0 / (high - low)
        np.nan_to_num(wide, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        return np.rint(wide.clip(0, 255)).astype(np.uint8)


#: RGB, every type by what it may hold, the first page.
USUAL = PixelFormat()


def _plain(spans: tuple[Span, ...]) -> str | list:
    if not spans:
        return BY_TYPE
    if len(spans) == 1:
        return list(spans[0])
    return [list(span) for span in spans]


def scaled_by_type(values: np.ndarray) -> np.ndarray:
    """Scale values of any shape to uint8 by what their type may hold.

    Raises:
        ValueError: if there are others.
    """
    dtype = values.dtype.name
    if dtype == 'uint8':
        return values
    if dtype not in DTYPE_RANGES:
        raise ValueError(
            f'expected pixels of a known type, got {dtype}; convert them to '
            f'one of {", ".join(DTYPE_RANGES)}'
        )
    low, high = DTYPE_RANGES[dtype]
    least, most = float(values.min()), float(values.max())
    if not (least >= low and most <= high):  # also refuses NaN
        what = 'float' if dtype.startswith('float') else 'integer'
        raise ValueError(
            f'expected {what} pixels from {low:g} to {high:g}, got values '
            f'from {least:g} to {most:g}; set range=(low, high) or '
            "range='auto' on the dataset"
        )
    if high == 65535:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    scaled = values.astype(np.float64) * (255.0 / high)
    return np.rint(scaled).astype(np.uint8)
