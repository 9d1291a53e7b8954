"""DeepCluster against the authors' code, mmselfsup's and a loop."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, LabelData
from torch import nn

from ahpcl.baselines.pseudo_label import (
    ClusterCrossEntropy,  # noqa: F401
    PseudoLabelClassifier,  # noqa: F401
)
from ahpcl.core.clustering.cluster_weights import (
    inverse_size_weights,
    uniform_over_clusters,
)
from ahpcl.core.clustering.whitening import pca_whiten

DATA = np.load(Path(__file__).parent / 'data' / 'deepcluster.npz')


def test_whitening_of_the_published_code():
    ours = F.normalize(pca_whiten(torch.from_numpy(DATA['features']), 6))
    theirs = torch.from_numpy(DATA['whitened'])
    signs = (ours * theirs).sum(0).sign()
    torch.testing.assert_close(ours * signs, theirs, atol=1e-4, rtol=0)


def test_clusters_are_drawn_as_often_as_published():
    labels = torch.tensor([0] * 40 + [1] * 3 + [3] * 17)
    draws = []
    for seed in range(500):
        generator = torch.Generator().manual_seed(seed)
        drawn = uniform_over_clusters(labels, 4, 60, generator)
        draws.append(np.bincount(labels[drawn].numpy(), minlength=4))
    draws = np.stack(draws)
    np.testing.assert_allclose(
        draws.mean(0), DATA['sampler_mean'], atol=0.1, rtol=0
    )
    assert (draws.min(0) >= DATA['sampler_min']).all()
    assert (draws.max(0) <= DATA['sampler_max']).all()


def host_weights(labels, num_classes, power):
    """What mmselfsup's hook puts into the model."""
    from mmselfsup.engine.hooks.deepcluster_hook import DeepClusterHook

    model = SimpleNamespace(
        memory_bank=SimpleNamespace(num_classes=num_classes),
        loss_weight=torch.zeros(num_classes),
    )
    runner = SimpleNamespace(model=SimpleNamespace(module=model))
    DeepClusterHook.set_reweight(None, runner, labels, power)
    return model.loss_weight


@pytest.mark.parametrize('power', [0.5, 1.0, 0.0])
def test_loss_weights(power):
    labels = np.random.default_rng(0).integers(0, 7, 200)
    sizes = torch.from_numpy(np.bincount(labels, minlength=7))
    ours = inverse_size_weights(sizes, power)
    torch.testing.assert_close(ours, host_weights(labels, 7, power))
    loop = [sum(1 for label in labels if label == k) for k in range(7)]
    loop = [1 / size**power for size in loop]
    expected = [value / sum(loop) for value in loop]
    assert ours.tolist() == pytest.approx(expected, rel=1e-6)


def test_an_empty_cluster_takes_all_weight_in_the_host_only():
    """What is patched here."""
    labels = np.array([0] * 4 + [1] * 9)
    theirs = host_weights(labels, 3, 0.5)
    assert float(theirs[2]) > 0.99999
    ours = inverse_size_weights(torch.tensor([4, 9, 0]), 0.5)
    assert ours.tolist() == pytest.approx([0.6, 0.4, 0.0])


class Flat(nn.Module):
    """A backbone of one matrix, so that gradients can be written down."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 8, bias=False)

    def forward(self, images):
        return (self.linear(images.flatten(1)),)


MODELS.register_module(module=Flat, name='FlatOfDeepCluster', force=True)


def test_loss_gradient_and_weights_after_a_step():
    model = MODELS.build(
        dict(
            type='PseudoLabelClassifier',
            backbone=dict(type='FlatOfDeepCluster'),
            neck=None,
            head=dict(
                type='ClsHead',
                loss=dict(type='ClusterCrossEntropy'),
                in_channels=8,
                num_classes=4,
            ),
        )
    )
    model.init_weights()
    with torch.no_grad():
        model.head.fc_cls.weight.normal_()
    of_all = torch.arange(20) % 4
    of_all[of_all == 3] = torch.tensor([3, 0, 0, 1, 0])
    sizes = torch.bincount(of_all)
    model.set_pseudo_labels(of_all, inverse_size_weights(sizes, 0.5))
    images, idx = torch.randn(5, 3, 2, 2), [3, 7, 12, 9, 18]
    samples = [
        BaseDataElement(sample_idx=LabelData(value=torch.tensor([i])))
        for i in idx
    ]

    # By hand in float64, with the gradient of a weighted mean.
    labels = of_all[idx].numpy()
    pixels = images.flatten(1).double().numpy()
    first = model.backbone.linear.weight.detach().double().numpy()
    last = model.head.fc_cls.weight.detach().double().numpy()
    features = pixels @ first.T
    logits = features @ last.T
    weights = 1 / np.sqrt(sizes.double().numpy())
    loss, delta, total = 0.0, np.zeros_like(logits), 0.0
    for row, label in enumerate(labels):
        chances = np.exp(logits[row]) / np.exp(logits[row]).sum()
        loss -= weights[label] * np.log(chances[label])
        delta[row] = weights[label] * chances
        delta[row, label] -= weights[label]
        total += weights[label]
    loss, delta = loss / total, delta / total

    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    got = model.loss([images], samples)['loss']
    got.backward()
    close = dict(rtol=1e-4, atol=1e-6)
    assert float(got) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(
        model.backbone.linear.weight.grad, (delta @ last).T @ pixels, **close
    )
    optimizer.step()
    np.testing.assert_allclose(
        model.head.fc_cls.weight.detach(),
        last - 0.5 * delta.T @ features,
        **close,
    )
    np.testing.assert_allclose(
        model.backbone.linear.weight.detach(),
        first - 0.5 * (delta @ last).T @ pixels,
        **close,
    )
