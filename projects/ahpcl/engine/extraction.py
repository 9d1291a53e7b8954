"""Features of all training images for the E-step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.utils.progress import progress_over
from ahpcl.utils.ranks import gather_rows

from .cache_sized import CacheSizedEncoder
from .extraction_settings import ExtractionSettings, Inputs
from .rank_shards import rank_shards


@dataclass(frozen=True)
class FeatureShard:
    """Features of the images that a rank is in charge of.

    Every image belongs to one rank, whatever the sampler repeated.

    Attributes:
        features: (n, D) float32 rows, in the order of the data set.
        shards: Where the others are.
    """

    features: Tensor
    shards: Shards


@torch.no_grad()
def extract_shard(
    model: nn.Module,
    dataloader: DataLoader,
    encode: Callable[[Inputs], Tensor] | None = None,
    settings: ExtractionSettings | None = None,
) -> FeatureShard:
    """Features of the images that the loader gives to this rank.

    Padded duplicates of a distributed sampler are told apart by
    ``sample_idx``: the lowest rank that has an image keeps it.

    Args:
        model: The unwrapped algorithm. It is in eval mode meanwhile.
        dataloader: Unshuffled and complete, see :func:`check_extract_loader`.
        encode: Preprocessed images (B, C, H, W), or a list of views, to
            float32 rows (B, D), each of its own image alone; None for
            ``model.extract_keys``, the key encoder's unit rows.
        settings: How to compute them; None for float32.

    Raises:
        FloatingPointError: if a feature is NaN or infinite, on every rank.
        ValueError: if the loader leaves images out.
    """
    dataset = dataloader.dataset
    num_images = len(dataset)
    device = next(model.parameters()).device
    encode = CacheSizedEncoder(model, encode or model.extract_keys)
    settings = ExtractionSettings() if settings is None else settings
    indices, rows = [], []
    with _evaluating(model), settings.computing(device):
        for batch in progress_over(dataloader, 'E-step: features'):
            inputs, samples = preprocessed(model, batch)
            rows.append(encode(settings.laid_out(inputs, device)))
            indices += [_index(sample) for sample in samples]
    found = torch.tensor(indices, device=device, dtype=torch.long)
    own = torch.cat(rows) if rows else torch.zeros(0, 1, device=device)
    keep, missing = _owned(found, num_images)
    if len(missing) and hasattr(dataset, 'datasets'):
        raise ValueError(
            f'expected a sample_idx of its own for each of {num_images} '
            f'images, got none for {len(missing)}: '
            f'{type(dataset).__module__}.{type(dataset).__name__} numbers '
            "its parts alike; join them with dict(type='ConcatDataset', "
            'datasets=[...]) in the config, or ahpcl.datasets.ConcatImages'
        )
    if len(missing):
        raise ValueError(
            f'expected features of all {num_images} images, got none for '
            f'{len(missing)}, first {_named(dataloader, missing)}; the '
            'extract dataloader must neither drop images nor sample some twice'
        )
    features = own[keep]
    shards = rank_shards(found[keep], num_images)
    wrong = ~torch.isfinite(features).all(1)
    bad = int(shards.sum(wrong.sum()))
    if bad:
        own = found[keep][wrong]
        first = f', first {_named(dataloader, own)}' if len(own) else ''
        raise FloatingPointError(
            f'features of {bad} of {num_images} images with NaN or infinity'
            f'{first}'
        )
    return FeatureShard(features, shards)


def extract_features(
    model: nn.Module,
    dataloader: DataLoader,
    encode: Callable[[Inputs], Tensor] | None = None,
) -> Tensor:
    """Features of every image, in the order of the data set.

    Args:
        model: See :func:`extract_shard`.
        dataloader: See there.
        encode: See there.

    Returns:
        (N, D) rows on the device of the model, the same on every rank.

    Raises:
        FloatingPointError: see there.
        ValueError: see there.
    """
    shard = extract_shard(model, dataloader, encode)
    return whole_features(shard)


def whole_features(shard: FeatureShard) -> Tensor:
    """Features (N, D) of all ranks, on every rank."""
    if shard.shards is ALONE:
        return shard.features
    everything = torch.arange(
        shard.shards.num_points(shard.features), device=shard.features.device
    )
    return shard.shards.fetch_rows(shard.features, everything)


def shard_of(features: Tensor) -> FeatureShard:
    """The part of a rank of features (N, D) that every rank has all of."""
    own = torch.arange(len(features), device=features.device)
    own = own.tensor_split(get_world_size())[get_rank()]
    return FeatureShard(features[own], rank_shards(own, len(features)))


def _owned(indices: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Places of the rows that a rank keeps, and images that none has.

    Args:
        indices: Indices of the images of the own rows, (n,).
        num_images: N.

    Returns:
        Places in the order of the data set, and indices of the images.
    """
    everyone, rank = gather_rows(
        indices, torch.full_like(indices, get_rank())[:, None]
    )
    order = torch.arange(len(everyone), device=everyone.device)
    first = order.new_full((num_images,), len(everyone))
    first.scatter_reduce_(0, everyone, order, 'amin')
    missing = (first == len(everyone)).nonzero().squeeze(1)
    mine = (rank[:, 0] == get_rank()).nonzero().squeeze(1)
    kept = first[indices] == mine
    places = kept.nonzero().squeeze(1)
    return places[indices[places].argsort()], missing


def build_extract_loader(
    config: dict | DataLoader, runner: Runner
) -> DataLoader:
    """Build and check the loader of a hook, when training starts.

    Args:
        config: Config of the loader.
        runner: The runner, whose training images it must pass over.

    Raises:
        ValueError: see :func:`check_extract_loader`.
    """
    loader = Runner.build_dataloader(config, seed=runner.seed)
    check_extract_loader(loader, runner.train_loop.dataloader)
    return loader


def check_extract_loader(loader: DataLoader, train: DataLoader) -> None:
    """Check that a loader passes over the very images that are trained on.

    Args:
        loader: Loader of the E-step.
        train: Loader of the training loop.

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


def _named(loader: DataLoader, indices: Tensor) -> str:
    """The first of some images as a user knows it: its file."""
    index = int(indices[0])
    return _path(loader.dataset, index) or f'image {index} of the data set'


def _path(dataset: torch.utils.data.Dataset, index: int) -> str | None:
    info = getattr(dataset, 'get_data_info', None)
    return None if info is None else info(index).get('img_path')


def _index(sample: object) -> int:
    index = sample.sample_idx  # type: ignore[attr-defined]
    return int(getattr(index, 'value', index))


def preprocessed(model: nn.Module, batch: object) -> tuple:
    """Images as the model takes them, with their samples.

    Args:
        model: The unwrapped algorithm, of mmselfsup or mmpretrain: what its
            data preprocessor gives is a pair, or a dict with these two keys.
        batch: Collated samples.

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
