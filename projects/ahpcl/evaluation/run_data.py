"""A checkpoint, and what it says about images: what reports are made of."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger, print_log
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ahpcl.core import PrototypeHierarchy, build_hierarchy
from ahpcl.core.lineage import Lineage, lineage
from ahpcl.engine.extraction import extract_features
from ahpcl.engine.start_checkpoint_hook import fit_checkpoint
from ahpcl.models.features import pool_features

from .feature_metric import label_of
from .feature_set import FeatureSet

UNTRAINED = 'untrained'


class RunData:
    """What one checkpoint says about its training images, and others.

    Features are extracted once, in one process, and kept in ``cache``;
    a cache of other weights, images or transforms is made anew.

    Args:
        config: Of the run.
        checkpoint: That it wrote; None for the untrained encoder.
        device: To extract on; None for a GPU where there is one.
        cache: Folder for the features; None keeps none on disk.
        evaluate_on: Whose loader gives :attr:`evaluation`: 'test' or 'val'.
            Where the config lacks the one, the other is taken.

    Raises:
        ValueError: If the checkpoint cannot be read or is of another model.

    Attributes:
        model: The algorithm with the weights, in eval mode.
        content: What the checkpoint holds; empty if untrained.
        name: File name of the checkpoint.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | os.PathLike | None,
        *,
        device: str | torch.device | None = None,
        cache: str | os.PathLike | None = None,
        evaluate_on: str = 'test',
    ) -> None:
        if evaluate_on not in ('test', 'val'):
            raise ValueError(
                f"expected evaluate_on 'test' or 'val', got {evaluate_on!r}"
            )
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.config = config
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.device = torch.device(device)
        self.name = UNTRAINED if checkpoint is None else self.checkpoint.name
        self._cache = None if cache is None else Path(cache)
        self._evaluate_on = evaluate_on
        init_default_scope(config.get('default_scope', 'mmselfsup'))
        self.model, self.content = load_model(config, checkpoint)
        self.model.to(self.device).eval()

    # ---- images ---------------------------------------------------------

    @cached_property
    def training_loader(self) -> DataLoader:
        """Over the training images, in order, without augmentation.

        Raises:
            ValueError: If the config has none.
        """
        for hook in self.config.get('custom_hooks') or []:
            if hook.get('extract_dataloader') is not None:
                return self._loader(hook['extract_dataloader'])
        if self.config.get('extract_dataloader') is None:
            raise ValueError(
                'expected a config with an extract_dataloader over the '
                'training images, got one without; inherit one of '
                'configs/_base_/datasets'
            )
        return self._loader(self.config.extract_dataloader)

    @cached_property
    def evaluation_loader(self) -> DataLoader | None:
        """Over labelled images with roles; None if the config has none."""
        order = ('test', 'val')
        if self._evaluate_on == 'val':
            order = ('val', 'test')
        for part in order:
            settings = self.config.get(f'{part}_dataloader')
            if settings is not None:
                return self._loader(settings)
        return None

    def image(self, index: int) -> np.ndarray:
        """A training image before any augmentation, (H, W, 3) uint8 RGB."""
        return load_image(self.training_loader.dataset, index)

    # ---- features -------------------------------------------------------

    @cached_property
    def training(self) -> FeatureSet:
        """Features and keys of the training images, in their order."""
        loader = self.training_loader
        return self._cached('training', loader, training_features)

    @cached_property
    def evaluation(self) -> FeatureSet | None:
        """Features of the evaluation images; None if there are none."""
        if self.evaluation_loader is None:
            return None
        loader = self.evaluation_loader
        return self._cached(self._evaluate_on, loader, evaluation_features)

    # ---- prototypes -----------------------------------------------------

    @cached_property
    def own_prototypes(self) -> bool:
        """Whether the checkpoint has prototypes of several granularities."""
        state = self.content.get('ahpcl') or {}
        return state.get('hierarchy') is not None and hasattr(
            self.model, 'extract_keys'
        )

    @cached_property
    def hierarchy(self) -> PrototypeHierarchy:
        """The prototypes of the last E-step, or fresh ones.

        Of a checkpoint without (another method, the warm-up), an
        agglomerative k-means of the pooled features.

        Raises:
            ValueError: If the prototypes are of other images.
        """
        number = len(self.training_loader.dataset)
        if self.own_prototypes:
            state = self.content['ahpcl']['hierarchy']
            hierarchy = PrototypeHierarchy.from_state_dict(state)
            assigned = len(hierarchy.levels[0].assignments)
            if assigned != number:
                raise ValueError(
                    f'expected prototypes of the {number} training images '
                    f'of the config, got some of {assigned} in '
                    f'{self.checkpoint}; give the config of that run, with '
                    'its data_root and limits'
                )
            return hierarchy
        print_log(
            f'{self.name} holds no prototypes: those shown are of a fresh '
            'k-means of its features',
            logger='current',
        )
        return build_hierarchy(
            self.points, fresh_rungs(number), linkage='agglomerative'
        )

    @cached_property
    def points(self) -> Tensor:
        """Unit rows (N, D) of the training images, where prototypes live."""
        if self.own_prototypes:
            assert self.training.keys is not None
            return self.training.keys
        return F.normalize(self.training.features, dim=1)

    def distances(self, level: int) -> Tensor:
        """Euclidean distance of every image to its prototype, (N,).

        Args:
            level: 0 is the finest.
        """
        chosen = self.hierarchy.levels[level]
        own = chosen.centroids.float()[chosen.assignments]
        return (self.points - own).norm(dim=1)

    def lineage(self, level: int) -> Lineage | None:
        """Parents of the clusters of a level; None of the coarsest.

        Args:
            level: 0 is the finest.
        """
        levels = self.hierarchy.levels
        if level == len(levels) - 1:
            return None
        return lineage(levels[level], levels[level + 1])

    # ---- how ------------------------------------------------------------

    def _loader(self, settings: Any) -> DataLoader:
        return Runner.build_dataloader(copy.deepcopy(settings), seed=0)

    def _cached(self, name: str, loader: DataLoader, extract: Any) -> Any:
        digest = self._digest(name, loader)
        file = None
        if self._cache is not None:
            stem = self.checkpoint.stem if self.checkpoint else UNTRAINED
            file = self._cache / f'{stem}_{name}.npz'
            if file.is_file():
                try:
                    found = FeatureSet.load(file)
                except ValueError as error:
                    print_log(f'{error}; extracting anew', logger='current')
                else:
                    if found.digest == digest:
                        return found
                    print_log(
                        f'{file} is of other weights, images or transforms; '
                        'extracting anew',
                        logger='current',
                    )
        made = extract(self.model, loader)
        made = FeatureSet(**{**vars(made), 'digest': digest})
        if file is not None:
            made.save(file)
        return made

    def _digest(self, name: str, loader: DataLoader) -> str:
        """Tells weights, images and transforms apart."""
        found = hashlib.sha256(name.encode())
        for key, value in self.model.state_dict().items():
            found.update(key.encode())
            flat = value.cpu().contiguous().view(-1)
            found.update(flat.view(torch.uint8).numpy())
        dataset = loader.dataset
        found.update(describe_transforms(dataset).encode())
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            path = str(info.get('img_path', index))
            found.update(path.encode())
            if 'img' in info:
                found.update(np.ascontiguousarray(info['img']))
            elif os.path.isfile(path):
                status = os.stat(path)
                found.update(f'{status.st_size} {status.st_mtime_ns}'.encode())
            found.update(str(info.get('gt_label')).encode())
        return found.hexdigest()


def load_model(
    config: Config, checkpoint: str | os.PathLike | None
) -> tuple[nn.Module, dict]:
    """Build the algorithm of a config with the weights of a checkpoint.

    Without one its weights are those that training starts from.

    Args:
        config: With ``model`` and ``randomness``.
        checkpoint: File, or address that mmengine reads, or None.

    Returns:
        The model on the CPU and what the checkpoint holds.

    Raises:
        ValueError: If the checkpoint does not exist, cannot be read or is of
            another model.
    """
    seed = (config.get('randomness') or {}).get('seed') or 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build(copy.deepcopy(config.model))
        if checkpoint is None:
            with _quiet():
                model.init_weights()
            return model, {}
    path = str(checkpoint)
    if '://' not in path and not Path(path).expanduser().is_file():
        raise ValueError(
            f'expected a checkpoint, got {path}, which does not exist'
        )
    try:
        content = CheckpointLoader.load_checkpoint(path, 'cpu')
    except (RuntimeError, EOFError, KeyError, OSError) as error:
        said = str(error).partition('\n')[0]
        raise ValueError(
            f'expected a checkpoint that can be read, got {path}: {said}'
        ) from error
    fit_checkpoint(model, content, path)
    state = content.get('state_dict', content)
    model.load_state_dict(
        {key.removeprefix('module.'): value for key, value in state.items()},
        strict=False,
    )
    return model, content


@torch.no_grad()
def training_features(model: nn.Module, loader: DataLoader) -> FeatureSet:
    """Features, and keys where the method has them, of training images.

    Args:
        model: The unwrapped algorithm.
        loader: Over all training images, in order.
    """
    has_keys = hasattr(model, 'extract_keys')
    widths = []

    def encode(inputs: Any) -> Tensor:
        features = pool_features(model.extract_feat(inputs))
        widths.append(features.shape[1])
        if not has_keys:
            return features
        return torch.cat([features, model.extract_keys(inputs)], dim=1)

    rows = extract_features(model, loader, encode).float().cpu()
    dataset = loader.dataset
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return FeatureSet(
        features=rows[:, : widths[0]].contiguous(),
        labels=torch.tensor([_label(info) for info in infos]),
        query=torch.zeros(len(rows), dtype=torch.bool),
        keys=rows[:, widths[0] :].contiguous() if has_keys else None,
        paths=_paths(infos),
        classes=class_names(dataset),
    )


@torch.no_grad()
def evaluation_features(model: nn.Module, loader: DataLoader) -> FeatureSet:
    """Features, labels and roles of a validation loader's images.

    Args:
        model: The unwrapped algorithm, in eval mode.
        loader: As for the val loop: in order, samples with a role.

    Raises:
        FloatingPointError: If a feature is NaN or infinite.
    """
    features, labels, query = [], [], []
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        if isinstance(data, dict):
            data = (data['inputs'], data['data_samples'])
        samples = model.predict(*data)
        for sample in samples:
            row = sample.to_dict()
            features.append(row['feature'].float().cpu())
            labels.append(label_of(row))
            query.append(row.get('role', 'query') == 'query')
    rows = torch.stack(features)
    bad = int((~torch.isfinite(rows).all(1)).sum())
    if bad:
        raise FloatingPointError(
            f'features of {bad} of {len(rows)} images with NaN or infinity'
        )
    dataset = loader.dataset
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return FeatureSet(
        features=rows,
        labels=torch.tensor(labels),
        query=torch.tensor(query),
        paths=_paths(infos),
        classes=class_names(dataset),
    )


def fresh_rungs(number: int) -> tuple[int, ...]:
    """Cluster counts for a look at images without prototypes."""
    counts = [count for count in (100, 30, 10) if count <= number // 5]
    return tuple(counts) or (1,)


def load_image(dataset: Dataset, index: int) -> np.ndarray:
    """An image before any augmentation, (H, W, 3) uint8 RGB.

    Args:
        dataset: Whose pipeline begins with a transform that loads.
        index: Of the image.

    Raises:
        ValueError: If the pipeline does not begin so.
    """
    dataset, index = _inner(dataset, index)
    transforms = dataset.pipeline.transforms
    if not transforms or not type(transforms[0]).__name__.startswith('Load'):
        raise ValueError(
            'expected a pipeline that begins with LoadImageBGR, got '
            f'{[type(t).__name__ for t in transforms]}'
        )
    image = transforms[0](dataset.get_data_info(index))['img']
    return np.ascontiguousarray(image[..., ::-1])


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the classes; empty if the set has none."""
    names = dataset.metainfo.get('classes') or ()
    return tuple(map(str, names))


def describe_transforms(dataset: Dataset) -> str:
    """The transforms of a data set, or of each that it joins."""
    parts = getattr(dataset, 'datasets', None) or [dataset]
    return json.dumps([repr(part.pipeline) for part in parts])


def _inner(dataset: Any, index: int) -> tuple[Any, int]:
    """The set of a joined one that an image is from, and its place there."""
    if not hasattr(dataset, 'datasets'):
        return dataset, index
    which, place = dataset._get_ori_dataset_idx(index)
    return dataset.datasets[which], place


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the host's list of how every weight was initialised."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _label(info: dict) -> int:
    label = info.get('gt_label')
    return -1 if label is None else int(label)


def _paths(infos: list[dict]) -> tuple[str, ...]:
    return tuple(str(info.get('img_path', i)) for i, info in enumerate(infos))
