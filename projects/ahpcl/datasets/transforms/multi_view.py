"""Several random views of an image, the same whoever computes them."""

import hashlib
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import TRANSFORMS
from torch.utils.data import get_worker_info

from ahpcl.utils.view_counts import view_counts

_STAND_IN = np.random.MT19937(0)  # seeded before each use

Step = dict | Callable[[dict], dict]


class EpochClock:
    """Epoch and seed, where running workers see them.

    Stays shared through fork, through the pickling that starts spawned
    workers, and in a deep copy (which is a clock of its own).

    Args:
        seed: The seed until it is set.
    """

    def __init__(self, seed: int = 0) -> None:
        self._values = torch.zeros(2, dtype=torch.int64).share_memory_()
        self.set(0, seed)

    def set(self, epoch: int, seed: int) -> None:
        """Set epoch and seed."""
        self._values[0] = epoch
        self._values[1] = seed

    def get(self) -> tuple[int, int]:
        """Return epoch and seed."""
        epoch, seed = self._values.tolist()
        return epoch, seed

    def __deepcopy__(self, memo: dict[int, Any]) -> 'EpochClock':
        twin = EpochClock()
        twin.set(*self.get())
        return twin

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self._values = state['_values']
        if not self._values.is_shared():  # from a plain pickle
            self._values.share_memory_()


@TRANSFORMS.register_module()
class SeededMultiView(BaseTransform):
    """Make several views of an image; their randomness belongs to the sample.

    As mmselfsup's ``MultiView``, ``img`` becomes a list of views. Before each
    view the global generators of NumPy, ``random`` and torch (CPU) are seeded
    from (seed, epoch, sample_idx, view), and afterwards all three continue
    where they were. So a view is the same with any number of workers, any
    batch size and order, and after a resume; any transform that draws from
    these three generators may be used inside. Random transforms outside keep
    the worker's randomness.

    Call :func:`ahpcl.datasets.epoch.set_epoch` on the dataset before each
    epoch, or every epoch repeats the same views. A dataset that repeats
    samples within an epoch (RepeatDataset) repeats their views.

    Required keys: ``img``, and ``sample_idx`` (mmengine's datasets add it).
    Modified key: ``img``, a list of views, those of the first pipeline first.

    Args:
        views: Pipelines, each a list of transforms.
        num_views: Views from each pipeline, by default one; a single number
            where there is one pipeline.
        seed: The seed until ``set_epoch`` gives one.

    Raises:
        ValueError: if ``num_views`` does not fit ``views``; on use, if
            ``sample_idx`` is missing.
    """

    def __init__(
        self,
        views: Sequence[Sequence[Step]],
        num_views: int | Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.num_views = view_counts(views, num_views)
        self.pipelines = [Compose(list(view)) for view in views]
        self.clock = EpochClock(seed)

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Set what the views depend on, also in workers that already run.

        Args:
            epoch: Epoch, from 0.
            seed: Seed of the run.
        """
        self.clock.set(epoch, seed)

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']`` by its views."""
        if 'sample_idx' not in results:
            raise ValueError(
                'expected sample_idx in the results, got '
                f'{", ".join(sorted(results))}; use a dataset derived from '
                "mmengine's BaseDataset, which adds it"
            )
        epoch, seed = self.clock.get()
        sample = int(results['sample_idx'])
        image = results['img']
        views = []
        with _generators_kept():
            for count, pipeline in zip(
                self.num_views, self.pipelines, strict=True
            ):
                for _ in range(count):
                    _seed_generators(seed, epoch, sample, len(views))
                    done = pipeline({**results, 'img': image.copy()})
                    if done is None:
                        return None
                    views.append(done['img'])
        results['img'] = views
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(views={self.pipelines}, '
            f'num_views={self.num_views})'
        )


def _seed_generators(seed: int, epoch: int, sample: int, view: int) -> None:
    """Seed the three global generators from a hash of four numbers."""
    digest = hashlib.blake2b(
        struct.pack('<4q', seed, epoch, sample, view), digest_size=20
    ).digest()
    for_numpy, for_python, for_torch = struct.unpack('<IQQ', digest)
    np.random.seed(for_numpy)
    random.seed(for_python)
    # torch.manual_seed would also queue a call for CUDA on every sample.
    torch.default_generator.manual_seed(for_torch)


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Let the three global generators continue where they were at the end."""
    python_state = random.getstate()
    torch_state = torch.default_generator.get_state()
    with _numpy_kept():
        try:
            yield
        finally:
            random.setstate(python_state)
            torch.default_generator.set_state(torch_state)


@contextmanager
def _numpy_kept() -> Iterator[None]:
    """Keep NumPy's global generator.

    Reading and writing its state takes 0.1 ms, a tenth of two small views. In
    a loader worker it is therefore put aside and another one takes its
    place, which costs next to nothing; only the second half of a pair of
    normal deviates is lost then, so the main process does it the exact way.
    """
    if get_worker_info() is None:
        state = np.random.get_state()
        try:
            yield
        finally:
            np.random.set_state(state)
        return
    outside = np.random.get_bit_generator()
    np.random.set_bit_generator(_STAND_IN)
    try:
        yield
    finally:
        np.random.set_bit_generator(outside)
