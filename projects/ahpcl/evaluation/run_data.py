"""A checkpoint, and what it says about images: what reports are made of."""

from __future__ import annotations

import copy
import logging
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from ahpcl.compat.frameworks import scope_of
from ahpcl.core import PrototypeHierarchy, build_hierarchy
from ahpcl.core.clustering.carry_over import carry_over
from ahpcl.core.clustering.lineage import Lineage, lineage
from ahpcl.core.metrics.stratified import stratified_share
from ahpcl.datasets.changes import Changes
from ahpcl.datasets.manifest import Manifest, manifest_of
from ahpcl.models.protocols import EncodesKeys

from .cluster_names import Names, read_cluster_names
from .extracted import (
    evaluation_features,
    known_of,
    training_features,
)
from .feature_cache import FeatureCache, digest_of
from .feature_set import FeatureSet
from .images import load_image
from .load_model import fitted_config, load_model, usable_device

UNTRAINED = 'untrained'
FOLDER_SHARE = 0.2
# How a data set reads its files.
_READING = ('channels', 'range', 'pages', 'show_bands', 'max_pixels')


class RunData:
    """What one checkpoint says about its training images, and others.

    Features are extracted once, in one process, and kept in ``cache``;
    a cache of other weights, images or transforms is made again.

    Args:
        config: Config of the run.
        checkpoint: Checkpoint of the run; None for the untrained encoder.
        device: Device to extract on; None for a GPU where there is one.
        cache: Folder for the features; None keeps none on disk.
        evaluate_on: Which images :attr:`evaluation` is of: 'test' or 'val' for
            that loader (where the config lacks the one, the other), or a
            folder with one folder of images for every class, a fifth of which
            are tested.

    Raises:
        ValueError: If the checkpoint cannot be read or is of another model,
            or the device cannot be used.

    Attributes:
        model: The algorithm with the weights, in eval mode.
        content: What the checkpoint holds; empty if untrained.
        name: File name of the checkpoint.
        evaluate_on: As given.
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
            evaluate_on = os.path.expanduser(evaluate_on)
        if (
            evaluate_on not in ('test', 'val')
            and not Path(evaluate_on).is_dir()
        ):
            raise ValueError(
                "expected 'test', 'val' or a folder with one folder of images "
                f'for every class to evaluate on, got {evaluate_on!r}'
            )
        init_default_scope(scope_of(config))
        config = fitted_config(config, checkpoint)
        self.config = config
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.device = usable_device(device)
        self.name = UNTRAINED if checkpoint is None else self.checkpoint.name
        stem = UNTRAINED if checkpoint is None else self.checkpoint.stem
        self._cache = FeatureCache(cache, stem)
        self.evaluate_on = evaluate_on
        self.model, self.content = load_model(config, checkpoint)
        self.model.to(self.device).eval()

    # ---- images ---------------------------------------------------------

    @cached_property
    def training_loader(self) -> DataLoader:
        """Loader over the training images, in order, without augmentation.

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
        """Loader over labelled images; None if the config has none."""
        if self.evaluate_on not in ('test', 'val'):
            return self._folder_loader()
        other = 'val' if self.evaluate_on == 'test' else 'test'
        for part in (self.evaluate_on, other):
            settings = self.config.get(f'{part}_dataloader')
            if settings is not None:
                return self._loader(settings)
        return None

    @cached_property
    def evaluation_roles(self) -> tuple[Tensor, Tensor]:
        """Return labels and roles of :attr:`evaluation`, (N,), unextracted.

        Labels are -1 where unknown; roles are True for images that are
        tested.

        Raises:
            ValueError: If the config has no images to evaluate on.
        """
        if self.evaluation_loader is None:
            raise ValueError(
                'expected a config with a test_dataloader or val_dataloader '
                'of labelled images, got one without; name a folder with one '
                'folder of images for every class (evaluate.py --data FOLDER)'
            )
        labels, query, _ = known_of(self.evaluation_loader.dataset)
        if self.evaluate_on not in ('test', 'val'):
            query = stratified_share(labels, FOLDER_SHARE)
        return labels, query

    def image(self, index: int) -> np.ndarray:
        """Return a training image, not augmented, (H, W, 3) uint8 RGB."""
        return load_image(self.training_loader.dataset, index)

    # ---- features -------------------------------------------------------

    @cached_property
    def training(self) -> FeatureSet:
        """Return features and keys of the training images, in their order."""
        loader = self.training_loader
        return self._cache.get(
            'training', self.model, loader, training_features
        )

    @cached_property
    def evaluation(self) -> FeatureSet | None:
        """Return features of the evaluation images; None if there are none."""
        if self.evaluation_loader is None:
            return None
        name = self.evaluate_on
        found = self._cache.get(
            name, self.model, self.evaluation_loader, evaluation_features
        )
        _, query = self.evaluation_roles
        return replace(found, query=query)

    def read_features(self, path: str | os.PathLike) -> FeatureSet:
        """Return features of :attr:`evaluation` from a file of an earlier run.

        Args:
            path: File that :class:`FeatureSet` wrote.

        Raises:
            ValueError: If they are of other weights, images or transforms.
        """
        if self.evaluation_loader is None:
            raise ValueError(
                'expected a config with labelled images for --features, got '
                'one without'
            )
        found = FeatureSet.load(path)
        loader = self.evaluation_loader
        digest = digest_of(self.evaluate_on, self.model, loader.dataset)
        if found.digest != digest:
            raise ValueError(
                f'expected features of {self.name} and the images of the '
                f'config, got {path} of other weights, images or transforms; '
                'leave it out to extract them'
            )
        return found

    # ---- prototypes -----------------------------------------------------

    @cached_property
    def changes(self) -> Changes | None:
        """Say what has become of the images of the checkpoint.

        None where it does not list them: only how many they are can be told
        then, and the log says so.
        """
        state = self.content.get('ahpcl') or {}
        now = manifest_of(self.training_loader.dataset)
        if state.get('images') is None or now is None:
            print_log(
                f'{self.name} does not list the images that it is about: it '
                'cannot be told whether those of the config are the same, '
                'only how many',
                logger='current',
                level=logging.WARNING,
            )
            return None
        changes = Manifest.from_state_dict(state['images']).compare(now)
        if not changes.none:
            print_log(
                f'of the {len(now)} images at hand are {changes.describe()}; '
                f'{self.name} is about {changes.earlier}'
                + (
                    ''
                    if changes.all_known
                    else '. What is new or changed gets the cluster of the '
                    'nearest prototype'
                ),
                logger='current',
                level=logging.WARNING,
            )
        return changes

    @cached_property
    def own_prototypes(self) -> bool:
        """Tell whether the checkpoint has prototypes of several levels."""
        state = self.content.get('ahpcl') or {}
        return state.get('hierarchy') is not None and isinstance(
            self.model, EncodesKeys
        )

    @cached_property
    def hierarchy(self) -> PrototypeHierarchy:
        """Return the prototypes of the last E-step, or fresh ones.

        Images are matched with those of the checkpoint by name and content;
        one that is new, or has changed, gets the cluster of the nearest
        prototype, and the log says how many.

        For a checkpoint without prototypes (of another method, or of the
        warm-up) they come from an agglomerative k-means of the pooled
        features.

        Raises:
            ValueError: If the prototypes are of other images.
        """
        number = len(self.training_loader.dataset)
        if self.own_prototypes:
            state = self.content['ahpcl']['hierarchy']
            hierarchy = PrototypeHierarchy.from_state_dict(state)
            assigned = len(hierarchy.levels[0].assignments)
            changes = self.changes
            known = number if changes is None else changes.earlier
            if assigned != known or not _any_known(changes):
                raise ValueError(
                    f'expected prototypes of the {number} training images '
                    f'of the config, got some of {assigned} others in '
                    f'{self.checkpoint}; give the config of that run, with '
                    'its data_root and limits'
                )
            if changes is None or changes.same_places:
                return hierarchy
            places = torch.from_numpy(changes.places)
            points = None if changes.all_known else self.points
            return carry_over(hierarchy, places, points)
        print_log(
            f'{self.name} holds no prototypes: those shown are of a fresh '
            'k-means of its features',
            logger='current',
        )
        return build_hierarchy(
            self.points, fresh_rungs(number), linkage='agglomerative'
        )

    @cached_property
    def cluster_names(self) -> Names:
        """Return names of clusters, of ``clusters.csv`` beside the checkpoint.

        Raises:
            ValueError: If it is of other clusters.
        """
        if self.checkpoint is None or not self.own_prototypes:
            return {}
        return read_cluster_names(
            self.checkpoint.parent, self.hierarchy.num_clusters
        )

    @cached_property
    def points(self) -> Tensor:
        """Return the training images as unit rows (N, D), like prototypes."""
        if self.own_prototypes:
            assert self.training.keys is not None
            return self.training.keys
        return F.normalize(self.training.features, dim=1)

    @property
    def counts_points(self) -> bool:
        """Whether kinds are counted by :attr:`points`, or by features.

        Whitening makes all directions of the features equally wide, so that
        what kinds differ in stands out less.
        """
        space = getattr(self.model, 'cluster_space', None)
        return self.own_prototypes and space is None

    @property
    def kind_rows(self) -> Tensor:
        """Return unit rows (N, D) by which kinds are counted."""
        if self.counts_points:
            return self.points
        return F.normalize(self.training.features, dim=1)

    def distances(self, level: int) -> Tensor:
        """Return the Euclidean distance of every image to its prototype, (N,).

        Args:
            level: 0 is the finest.
        """
        return self.hierarchy.levels[level].distances(self.points)

    def lineage(self, level: int) -> Lineage | None:
        """Return parents of the clusters of a level; None of the coarsest.

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

    def _folder_loader(self) -> DataLoader:
        """Return images of a folder, transformed as the training images."""
        settings = copy.deepcopy(dict(self.config.extract_dataloader))
        kept = dict(settings['dataset'])
        if not isinstance(kept.get('channels'), int):
            # Images of more bands are read with as many as the encoder takes.
            kept['channels'] = self.config.model.backbone.get('in_channels', 3)
        settings['dataset'] = dict(
            type='UnlabelledFolder',
            data_root=str(self.evaluate_on),
            labels_from_folders=True,
            **{key: kept[key] for key in _READING if key in kept},
            pipeline=kept['pipeline'],
        )
        return self._loader(settings)


def _any_known(changes: Changes | None) -> bool:
    return changes is None or bool((changes.places >= 0).any())


def fresh_rungs(number: int) -> tuple[int, ...]:
    """Return cluster counts for a look at images without prototypes."""
    counts = [count for count in (100, 30, 10) if count <= number // 5]
    return tuple(counts) or (1,)
