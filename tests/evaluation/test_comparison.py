"""A run beside its untrained encoder, pixels and other weights."""

import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ahpcl.core.metrics.knn import knn_accuracy
from ahpcl.evaluation.comparison import (
    PIXELS,
    RUN,
    UNTRAINED,
    _measure,
    compare,
)
from ahpcl.evaluation.load_model import load_model
from ahpcl.evaluation.run_data import RunData
from ahpcl.visualization.report_worth import worth


@pytest.fixture(scope='module')
def run(toy_run):
    config = Config.fromfile(toy_run.config)
    return RunData(config, toy_run.checkpoint, device='cpu')


def test_a_run_with_labels(run, toy_run):
    found = compare(run, max_images=200)
    assert list(found['rows']) == [RUN, UNTRAINED, PIXELS]
    assert found['images'] == 200 and found['tested'] == 40
    # All images, by the loader and the metric of an evaluation.
    whole = compare(run, max_images=10_000)
    features, (labels, query) = run.evaluation, run.evaluation_roles
    expected = knn_accuracy(
        features.features[~query],
        labels[~query],
        features.features[query],
        labels[query],
        k=20,
    )
    assert whole['rows'][RUN]['knn'] == pytest.approx(expected, abs=0.5)
    # Digits are told apart by their pixels, better than by chance.
    assert whole['rows'][PIXELS]['knn'] > 60
    page = worth(run)
    assert 'pixels' in page and 'kNN finds the class of' in page
    assert load_model(run.config, None)[0] is not run.model


def test_other_weights_are_a_row(run, toy_run):
    found = compare(run, toy_run.checkpoint, max_images=200)
    name = f'weights of {toy_run.checkpoint.name}'
    # The same weights by another name.
    assert found['rows'][name] == found['rows'][RUN]


def test_a_run_without_labels(run, toy_run):
    config = Config.fromfile(toy_run.config)
    for part in ('val', 'test'):
        for name in ('dataloader', 'evaluator', 'cfg'):
            config[f'{part}_{name}'] = None
    bare = RunData(config, toy_run.checkpoint, device='cpu')
    found = compare(bare, max_images=100)
    assert found['tested'] == 0 and found['images'] == 100
    assert all(row['knn'] is None for row in found['rows'].values())
    page = worth(bare)
    assert 'kNN' not in page and 'agree by' in page


def test_measures_of_clusters_that_are_there():
    """Four tight groups of ten images: every measure is known."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(4).repeat_interleave(10, dim=0) * 10
    features = centres + 0.01 * torch.randn(40, 4, generator=generator)
    labels = torch.arange(4).repeat_interleave(10)
    query = torch.arange(40) % 5 == 0
    found = _measure(features, labels, query, 4)
    assert found['knn'] == 100
    assert found['agreement'] == pytest.approx(1)
    assert found['silhouette'] > 0.99
    # Nine of the ten nearest can be of an image's own group.
    assert found['together'] == pytest.approx(90)


def test_images_that_are_gone_are_said(tmp_path, toy_run):
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(240):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{number:03d}.png')
    config = Config.fromfile(toy_run.config)
    loader = config.custom_hooks[0].extract_dataloader
    loader.dataset = dict(
        type='UnlabelledFolder',
        data_root=str(folder),
        pipeline=loader.dataset.pipeline,
    )
    for part in ('val', 'test'):
        config[f'{part}_dataloader'] = None
    run = RunData(config, toy_run.checkpoint, device='cpu')
    assert 'agree by' in worth(run)
    shutil.rmtree(folder)
    gone = RunData(config, toy_run.checkpoint, device='cpu')
    assert 'Not compared with anything' in worth(gone)
