"""Pictures of the prototypes while training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from ahpcl.core.clustering.lineage import lineage
from ahpcl.core.clustering.prototypes import PrototypeHierarchy
from ahpcl.engine.extraction import build_extract_loader, extract_features
from ahpcl.evaluation.extracted import class_names, known_of
from ahpcl.evaluation.feature_set import class_name
from ahpcl.evaluation.images import load_image
from ahpcl.models.protocols import EncodesKeys, require
from ahpcl.utils.random_state import random_state_kept
from ahpcl.utils.ranks import on_rank_0, unwrap

KINDS = ('gallery', 'sizes', 'tsne')


@HOOKS.register_module()
class FigureHook(Hook):
    """Hands pictures of the prototypes in use to the visualizer.

    Before an epoch, after its E-step, all ranks extract the keys once more
    and rank 0 draws. No random state is touched: the run is the same bit for
    bit with it and without.

    Args:
        extract_dataloader: Config of a loader over the training images, in
            order and all of them, with a deterministic pipeline.
        interval: Epochs between two pictures; epoch 10, 20 ... for 10.
        kinds: Which pictures to make, of 'gallery' (its first page), 'sizes'
            and 'tsne' (which needs the extra ``viz``).
        max_images: Most images that t-SNE shows.

    Raises:
        ValueError: For an unknown kind, an interval below 1, or, when
            training starts, a model without keys or other images.
    """

    # After the E-step of the AdaptiveClusterHook.
    priority = 'LOW'

    def __init__(
        self,
        extract_dataloader: dict | DataLoader,
        interval: int = 10,
        kinds: Sequence[str] = ('gallery', 'sizes'),
        max_images: int = 2000,
    ) -> None:
        if interval < 1 or not kinds or not set(kinds) <= set(KINDS):
            raise ValueError(
                f'expected interval of at least 1 and kinds of {KINDS}, got '
                f'{interval} and {tuple(kinds)}'
            )
        self.interval = interval
        self.kinds = tuple(kinds)
        self.max_images = max_images
        self._extract_config = extract_dataloader
        self._loader: DataLoader | None = None

    def before_train(self, runner: Runner) -> None:
        """Build and check the loader."""
        require(
            unwrap(runner.model),
            EncodesKeys,
            "a model of type 'AHPCL'",
            'leave the FigureHook out of custom_hooks',
        )
        self._loader = build_extract_loader(self._extract_config, runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Draw, if it is time to and there are prototypes."""
        model = unwrap(runner.model)
        hierarchy = model.head.hierarchy
        if hierarchy is None or (runner.epoch + 1) % self.interval:
            return
        device = next(model.parameters()).device
        # A loader draws a seed for its workers whenever it is passed over.
        with random_state_kept(device=device):
            keys = extract_features(model, self._loader).cpu()
            on_rank_0(
                lambda: self._draw(runner, keys, hierarchy.to('cpu')),
                'drawing figures',
            )

    def _draw(
        self, runner: Runner, keys: Tensor, hierarchy: PrototypeHierarchy
    ) -> None:
        # matplotlib is loaded by runs that draw only.
        from .colourings import by_class, by_prototype
        from .embedding import embedding_figure
        from .gallery import gallery_figures
        from .projection import project
        from .save import log_figures
        from .sizes import sizes_figure

        dataset = self._loader.dataset
        labels = known_of(dataset).labels
        named = partial(class_name, class_names(dataset))
        source = f'before epoch {runner.epoch + 1}'
        figures = {}
        if 'sizes' in self.kinds:
            sizes = [level.sizes() for level in hierarchy]
            figures['sizes'] = sizes_figure(sizes, source=source)
        if 'gallery' in self.kinds:
            for level in hierarchy:
                pages = gallery_figures(
                    level,
                    level.distances(keys),
                    lambda index: load_image(dataset, index),
                    labels=labels,
                    class_name=named,
                    source=source,
                )
                figures[f'gallery_k{level.num_clusters}_1'] = next(pages)
        if 'tsne' in self.kinds:
            levels = hierarchy.levels
            projection = project(
                keys,
                prototypes=[level.centroids for level in levels],
                max_images=self.max_images,
            )
            lineages = [
                *map(lineage, levels[:-1], levels[1:]),
                None,
            ]
            colourings = by_prototype(projection, hierarchy, lineages)
            if bool((labels >= 0).any()):
                colourings.insert(0, by_class(projection, labels, named))
            figures['tsne'] = embedding_figure(
                projection,
                colourings,
                num_images=len(keys),
                features='the keys of training images',
                source=source,
            )
        log_figures(runner.visualizer, figures, runner.iter)
