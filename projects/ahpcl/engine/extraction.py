"""Features of the whole training set for the E-step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from .distributed import gather_rows
from .progress import progress_over

Inputs = Tensor | Sequence[Tensor]


@torch.no_grad()
def extract_features(
    model: nn.Module,
    dataloader: DataLoader,
    encode: Callable[[Inputs], Tensor] | None = None,
) -> Tensor:
    """Features of every image, in the order of the data set.

    Every rank passes its share of the images; padded duplicates of a
    distributed sampler are told apart by ``sample_idx``.

    Args:
        model: The unwrapped algorithm. It is in eval mode meanwhile.
        dataloader: Unshuffled and complete, see :func:`check_extract_loader`.
        encode: Preprocessed images (B, C, H, W), or a list of views, to
            float32 rows (B, D); None for ``model.extract_keys``, the key
            encoder's unit rows.

    Returns:
        (N, D) rows on the device of the model, the same on every rank.

    Raises:
        FloatingPointError: if a feature is NaN or infinite.
        ValueError: if the loader leaves images out.
    """
    num_images = len(dataloader.dataset)
    device = next(model.parameters()).device
    encode = model.extract_keys if encode is None else encode
    indices, rows = [], []
    with _evaluating(model):
        for batch in progress_over(dataloader, 'E-step: features'):
            inputs, samples = preprocessed(model, batch)
            rows.append(encode(inputs))
            indices += [_index(sample) for sample in samples]
    own_indices = torch.tensor(indices, device=device, dtype=torch.long)
    own_rows = torch.cat(rows) if rows else torch.zeros(0, 1, device=device)
    all_indices, all_rows = gather_rows(own_indices, own_rows)
    features = all_rows.new_zeros(num_images, all_rows.shape[1])
    features[all_indices] = all_rows
    seen = torch.bincount(all_indices, minlength=num_images) > 0
    if not bool(seen.all()):
        missing = int((~seen).sum())
        raise ValueError(
            f'expected features of all {num_images} images, got none for '
            f'{missing}, first index {int((~seen).nonzero()[0])}; the extract '
            'dataloader must neither drop images nor sample some twice'
        )
    bad = int((~torch.isfinite(features).all(1)).sum())
    if bad:
        raise FloatingPointError(
            f'features of {bad} of {num_images} images with NaN or infinity'
        )
    return features


def build_extract_loader(
    config: dict | DataLoader, runner: Runner
) -> DataLoader:
    """Build and check the loader of a hook, when training starts.

    Args:
        config: Of the loader.
        runner: Whose training images it must pass over.

    Raises:
        ValueError: see :func:`check_extract_loader`.
    """
    loader = Runner.build_dataloader(config, seed=runner.seed)
    check_extract_loader(loader, runner.train_loop.dataloader)
    return loader


def check_extract_loader(loader: DataLoader, train: DataLoader) -> None:
    """Check that a loader passes over the very images that are trained on.

    Args:
        loader: Of the E-step.
        train: Of the training loop.

    Raises:
        ValueError: if it shuffles, drops images or has other ones.
    """
    sampler = loader.sampler
    if getattr(sampler, 'shuffle', False) or isinstance(
        sampler, RandomSampler
    ):
        raise ValueError(
            'expected an extract_dataloader that keeps the order, got a '
            f'{type(sampler).__name__} that shuffles; set '
            "sampler=dict(type='DefaultSampler', shuffle=False)"
        )
    if loader.drop_last:
        raise ValueError(
            'expected an extract_dataloader with every image, got '
            'drop_last=True; leave it out'
        )
    ours, theirs = loader.dataset, train.dataset
    if len(ours) != len(theirs):
        raise ValueError(
            'expected an extract_dataloader over the '
            f'{len(theirs)} training images, got one over {len(ours)}; give '
            'both the same dataset settings but the pipeline'
        )
    ours_bytes = getattr(ours, 'data_bytes', None)
    theirs_bytes = getattr(theirs, 'data_bytes', None)
    if (
        ours_bytes is not None
        and len(ours_bytes) > 0
        and len(ours_bytes) == len(theirs_bytes)
        and bool((ours_bytes == theirs_bytes).all())
    ):
        return
    for index in range(len(ours)):
        mine, other = _path(ours, index), _path(theirs, index)
        if mine != other:
            raise ValueError(
                'expected an extract_dataloader over the training images, '
                f'got {mine} where image {index} of training is {other}; '
                'give both the same dataset settings but the pipeline'
            )


def _path(dataset: torch.utils.data.Dataset, index: int) -> str | None:
    info = getattr(dataset, 'get_data_info', None)
    return None if info is None else info(index).get('img_path')


def _index(sample: object) -> int:
    index = sample.sample_idx  # type: ignore[attr-defined]
    return int(getattr(index, 'value', index))


def preprocessed(model: nn.Module, batch: object) -> tuple:
    """Images as the model takes them, with their samples.

    Args:
        model: The unwrapped algorithm, of either host: what its data
            preprocessor gives is a pair, or a dict with these two keys.
        batch: Collated.

    Returns:
        Inputs, a tensor (B, C, H, W) or a list of views, and data samples.
    """
    data = model.data_preprocessor(batch, False)
    if isinstance(data, dict):
        return data['inputs'], data['data_samples']
    return tuple(data)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
