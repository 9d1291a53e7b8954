"""Negative hue shifts, which NumPy 2 no longer wraps to eight bits."""

from __future__ import annotations

import functools
import sys
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.image import photometric
from PIL import Image

from .fix import Fix

# Every module that holds the function by name. One that is not loaded yet
# takes the patched function when it is.
_HOLDERS = (
    'mmcv',
    'mmcv.image',
    'mmcv.image.photometric',
    'mmselfsup.datasets.transforms.processing',
)


def _rotate_bgr(img: np.ndarray, shift: np.uint8, backend: str) -> np.ndarray:
    """Adds ``shift`` (in 1/256 of a turn) to the hue of a BGR image."""
    if backend == 'pillow':
        hsv = np.array(Image.fromarray(img[..., ::-1]).convert('HSV'))
        hsv[..., 0] += shift
        rgb = Image.fromarray(hsv, 'HSV').convert('RGB')
        return np.array(rgb, dtype=img.dtype)[..., ::-1]
    hsv = cv2.cvtColor(img.astype(np.uint8), cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += shift
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL).astype(img.dtype)


def _adjust_hue(original: Any) -> Any:
    """Wraps ``mmcv.adjust_hue``: only negative shifts take a new path."""

    @functools.wraps(original)
    def adjust_hue(
        img: np.ndarray, hue_factor: float, backend: str | None = None
    ) -> np.ndarray:
        chosen = photometric.imread_backend if backend is None else backend
        shift = int(hue_factor * 255)
        if (
            shift >= 0
            or hue_factor < -0.5
            or chosen not in ('cv2', 'pillow')
            or not isinstance(img, np.ndarray)
            or img.ndim != 3
            or (chosen == 'pillow' and img.dtype != np.uint8)
        ):  # healthy there, or its own error message
            return original(img, hue_factor, backend=backend)
        return _rotate_bgr(img, np.uint8(shift & 0xFF), chosen)

    return adjust_hue


def _needed() -> bool:
    try:
        mmcv.adjust_hue(np.zeros((1, 1, 3), np.uint8), -0.1)
    except OverflowError:
        return True
    return False


def _apply() -> None:
    patched = _adjust_hue(photometric.adjust_hue)
    for name in _HOLDERS:
        if hasattr(sys.modules.get(name), 'adjust_hue'):
            sys.modules[name].adjust_hue = patched  # type: ignore[attr-defined]


HUE_WRAP = Fix(
    name='hue-wrap',
    symptom=(
        'OverflowError: Python integer -22 out of bounds for uint8, in a '
        'loader worker, for half of all samples with colour jitter of hue'
    ),
    upstream=(
        'mmcv image/photometric.py adjust_hue on NumPy 2, also in mmcv '
        'main; fixed in the fork at '
        'https://github.com/VBTI-development/onedl-mmcv/pull/41'
    ),
    needed=_needed,
    apply=_apply,
)
