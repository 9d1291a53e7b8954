"""Features of images, in the form of mmengine's inferencers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.logging import print_log
from mmengine.registry import INFERENCERS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ahpcl.compat.frameworks import scope_of
from ahpcl.datasets.scan import describe, scan_images, usable_cores
from ahpcl.evaluation.load_model import usable_device
from ahpcl.utils.progress import watched

from .encoder_parts import SPACES, EncoderParts, build_parts
from .foreign_pixels import pixels_for, reading
from .image_items import ImageItem, Layout, list_items
from .preprocessing import Preprocessing, UnreadableImageError
from .run_files import RunFiles, as_config, read_run

BATCH_SIZE = 64
ON_UNREADABLE = ('raise', 'skip')
_THREADS = 8

Source = str | os.PathLike | RunFiles


@INFERENCERS.register_module()
class FeatureInferencer(BaseInferencer):
    """Turns images into features, by the encoder of a run.

    The form is that of mmengine's ``BaseInferencer``: ``FeatureInferencer(
    'runs/photos')('new/')``. :meth:`ahpcl.api.Encoder.embed` is made by it.

    Args:
        model: Folder of a run, a checkpoint or an exported file; or, with
            ``weights``, the config of the checkpoint, as in mmengine.
        weights: Checkpoint, where ``model`` is its config or is left out.
        device: Device to compute on; None for a GPU where there is one.
        scope: Scope of the registries; None for that of the config.
        show_progress: Show a bar where a person watches.

    Raises:
        ValueError: If the run cannot be read.

    Attributes:
        files: What was read of the run.
    """

    preprocess_kwargs = {'layout', 'on_unreadable'}  # noqa: RUF012
    forward_kwargs = {'space'}  # noqa: RUF012
    visualize_kwargs = set()  # noqa: RUF012
    postprocess_kwargs = set()  # noqa: RUF012

    def __init__(
        self,
        model: Source | Config | dict | None = None,
        weights: str | os.PathLike | None = None,
        device: str | torch.device | None = None,
        scope: str | None = None,
        show_progress: bool = True,
    ) -> None:
        self.files = _files_of(model, weights)
        self._bar = show_progress
        self._skipped: list[str] = []
        self._names: list[str] = []
        config = self.files.config
        super().__init__(
            config,
            str(self.files.path),
            device=str(usable_device(device)),
            scope=scope or scope_of(config),
            show_progress=False,
        )

    def __call__(
        self,
        inputs: Any,
        return_datasamples: bool = False,
        batch_size: int = BATCH_SIZE,
        **kwargs: Any,
    ) -> dict | list[BaseDataElement]:
        """Encode images.

        Args:
            inputs: Images, see :func:`ahpcl.api.image_items.list_items`.
            return_datasamples: Return a data element for every image.
            batch_size: Images at once.
            **kwargs: ``layout`` of arrays; ``on_unreadable``, 'raise' or
                'skip'; ``space``, 'features' or 'prototypes'.

        Returns:
            ``features``, (N, D) float32, ``names`` of the images in that
            order, and ``skipped``, the names of those that are left out.

        Raises:
            ValueError: If something is no image, or an option is unknown.
        """
        if batch_size < 1:
            raise ValueError(
                f'expected batch_size of at least 1, got {batch_size}'
            )
        self._skipped, self._names = [], []
        return super().__call__(
            inputs, return_datasamples, batch_size, **kwargs
        )

    def preprocess(
        self,
        inputs: list[Any],
        batch_size: int = BATCH_SIZE,
        layout: Layout | None = None,
        on_unreadable: str = 'raise',
    ) -> Iterator[Tensor]:
        """Yield batches of pixels, decoded by threads while others encode.

        Raises:
            ValueError: See :meth:`__call__`.
        """
        if on_unreadable not in ON_UNREADABLE:
            raise ValueError(
                "expected on_unreadable='raise' or 'skip', got "
                f'{on_unreadable!r}'
            )
        items = list_items(inputs, layout, self.pipeline.channels)
        skip = on_unreadable == 'skip'
        items = self._openable(items, skip)
        pixels = pixels_for(self.pipeline.pixels, items, str(self.files.path))
        pipeline = reading(self.pipeline, pixels)
        return self._batches(pipeline, items, batch_size, skip)

    @torch.no_grad()
    def forward(self, inputs: Tensor, space: str = 'features') -> list[Tensor]:
        """Encode a batch to a list of rows (D,) on the CPU.

        Raises:
            ValueError: If the space is unknown.
        """
        if space not in SPACES:
            raise ValueError(
                f'expected space to be one of {SPACES}, got {space!r}'
            )
        if space == 'prototypes':
            self.check_prototypes_space()
        rows = self.model(inputs.to(self._device()), space)
        return list(rows.float().cpu())

    def visualize(self, *args: Any, **kwargs: Any) -> None:
        """Draw nothing: ``ahpcl report`` shows images."""

    def postprocess(
        self,
        preds: list[Tensor],
        visualization: Any,
        return_datasamples: bool = False,
    ) -> dict | list[BaseDataElement]:
        """Put the rows together; see :meth:`__call__`.

        Raises:
            FloatingPointError: If a feature is NaN or infinite.
            ValueError: If no image is left.
        """
        features = self._stacked(preds)
        if return_datasamples:
            return [
                BaseDataElement(
                    metainfo=dict(img_path=name), feature=torch.from_numpy(row)
                )
                for name, row in zip(self._names, features, strict=True)
            ]
        return dict(
            features=features,
            names=tuple(self._names),
            skipped=tuple(self._skipped),
        )

    def check_prototypes_space(self) -> None:
        """Refuse the space of prototypes where there is none.

        Raises:
            ValueError: If the run has no key encoder and no prototypes.
        """
        if not self.model.has_keys and 'hierarchy' not in self.files.kept:
            raise ValueError(
                'expected a run with a key encoder for space="prototypes", '
                f'got {self.files.path} without: it is of another method; '
                'take space="features"'
            )

    # ---- what mmengine asks for -----------------------------------------

    def _inputs_to_list(self, inputs: Any) -> list:
        return inputs if isinstance(inputs, list) else [inputs]

    def _init_model(self, cfg: Any, weights: Any, device: str) -> nn.Module:
        parts: EncoderParts = build_parts(self.files.config, self.files.state)
        return parts.to(device)

    def _init_pipeline(self, cfg: Any) -> Preprocessing:
        return Preprocessing.of(self.files.config)

    def _init_collate(self, cfg: Any) -> Any:
        return self._collate

    def _init_visualizer(self, cfg: Any) -> None:
        return None

    # ---- helpers --------------------------------------------------------

    def _device(self) -> torch.device:
        return next(self.model.backbone.parameters()).device

    def _stacked(self, preds: list[Tensor]) -> np.ndarray:
        if not preds:
            raise ValueError(
                'expected at least one readable image, got none of '
                f'{len(self._skipped)}, first {self._skipped[0]}'
            )
        rows = torch.stack(preds)
        bad = (~torch.isfinite(rows).all(1)).nonzero().flatten().tolist()
        if bad:
            raise FloatingPointError(
                f'features of {len(bad)} of {len(rows)} images with NaN or '
                f'infinity, first {self._names[bad[0]]}: the encoder diverged '
                'in training; take an earlier checkpoint'
            )
        return rows.numpy()

    def _openable(self, items: list[ImageItem], skip: bool) -> list[ImageItem]:
        """Look at the files before any is encoded."""
        files = [item for item in items if isinstance(item.source, Path)]
        problems = scan_images([item.name for item in files], 'header', 1)
        if not problems:
            return items
        if not skip:
            raise ValueError(
                'expected images that can be read, got '
                f'{describe(problems, len(items))}\nLeave them out, or set '
                "on_unreadable='skip' (--skip-unreadable in the shell)"
            )
        bad = {id(files[problem.index]) for problem in problems}
        self._skipped += [problem.path for problem in problems]
        return [item for item in items if id(item) not in bad]

    def _batches(
        self,
        pipeline: Preprocessing,
        items: list[ImageItem],
        size: int,
        skip: bool,
    ) -> Iterator[Tensor]:
        def decode(item: ImageItem) -> Tensor | UnreadableImageError:
            try:
                return pipeline(item)
            except UnreadableImageError as error:
                return error

        threads = min(_THREADS, usable_cores())
        with ThreadPoolExecutor(threads) as pool:
            ahead = _ahead(pool, decode, items, 2 * size)
            if self._bar:
                ahead = watched(ahead, 'Embedding', len(items))
            batch: list[Tensor] = []
            names: list[str] = []
            for item, found in zip(items, ahead, strict=True):
                if isinstance(found, UnreadableImageError):
                    if not skip:
                        raise found
                    self._skipped.append(item.name)
                    continue
                full = len(batch) == size
                if full or (batch and batch[0].shape != found.shape):
                    # A run that tells no size takes every size by itself.
                    yield self._collate(batch)
                    batch = []
                batch.append(found)
                names.append(item.name)
                self._names = names
            if batch:
                yield self._collate(batch)
        if self._skipped and skip:
            print_log(
                f'left out {len(self._skipped)} of '
                f'{len(self._names) + len(self._skipped)} images that cannot '
                f'be read, first {self._skipped[0]}',
                logger='current',
                level=logging.WARNING,
            )

    @staticmethod
    def _collate(batch: list[Tensor]) -> Tensor:
        return torch.stack(batch)


def _files_of(
    model: Source | Config | dict | None, weights: str | os.PathLike | None
) -> RunFiles:
    if isinstance(model, RunFiles):
        return model
    if weights is not None:
        config = None if model is None else as_config(model)
        return read_run(weights, config)
    if model is None or isinstance(model, Config | dict):
        raise ValueError(
            'expected the folder of a run or a checkpoint, got none; name '
            'it (model=...), or give its config and weights=...'
        )
    return read_run(model)


def _ahead(
    pool: ThreadPoolExecutor,
    work: Any,
    items: Iterable[ImageItem],
    number: int,
) -> Iterator[Any]:
    """Map in order, at most so many results before they are asked for."""
    rest = iter(items)
    waiting = [pool.submit(work, item) for item in islice(rest, number)]
    while waiting:
        yield waiting.pop(0).result()
        for item in islice(rest, 1):
            waiting.append(pool.submit(work, item))
