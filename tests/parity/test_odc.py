"""ODC's memory against the published one, and a step against a loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, LabelData
from torch import nn

from ahpcl.baselines.odc import OnlineDeepClustering  # noqa: F401
from ahpcl.baselines.online_memory import OnlineClusteringMemory
from ahpcl.baselines.pseudo_label import (
    ClusterCrossEntropy,  # noqa: F401
)
from ahpcl.core.clustering.cluster_weights import inverse_size_weights

DATA = np.load(Path(__file__).parent / 'data' / 'odc_memory.npz')


def tensor(name):
    return torch.from_numpy(DATA[name])


def memory_at(name):
    """Our memory in a state of the published one."""
    memory = OnlineClusteringMemory(80, 8, 5, momentum=0.5, min_cluster=5)
    memory.init_memory(tensor('features'), tensor('labels'))
    memory.feature_bank.copy_(tensor(f'{name}_bank'))
    memory.label_bank.copy_(tensor(f'{name}_labels'))
    memory.centroids.copy_(tensor(f'{name}_centroids'))
    return memory


def assert_state(memory, name):
    close = dict(atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        memory.feature_bank, tensor(f'{name}_bank'), **close
    )
    torch.testing.assert_close(
        memory.centroids, tensor(f'{name}_centroids'), **close
    )
    assert torch.equal(memory.label_bank, tensor(f'{name}_labels'))


def test_init_steps_and_centroids_in_one_go():
    memory = OnlineClusteringMemory(80, 8, 5, momentum=0.5, min_cluster=5)
    memory.init_memory(tensor('features'), tensor('labels'))
    assert_state(memory, 'init')
    for step in range(4):
        ratio = memory.update_samples_memory(
            tensor(f'step{step}_idx'), tensor(f'step{step}_new')
        )
        assert float(ratio) == pytest.approx(float(DATA[f'step{step}_ratio']))
        assert_state(memory, f'step{step}')
    memory.update_centroids_memory()
    assert_state(memory, 'centroids')


def test_small_clusters():
    """Absorbed and split as published, but for which half keeps the name."""
    memory = memory_at('centroids')
    assert memory.sizes().tolist() == [33, 16, 15, 13, 3]
    assert memory.deal_with_small_clusters(seed=0) == 1
    theirs = tensor('small_labels')
    ours = memory.label_bank.clone()
    centroids = memory.centroids.clone()
    if not torch.equal(ours, theirs):
        swap = torch.tensor([4, 1, 2, 3, 0])
        ours, centroids = swap[ours], centroids[swap]
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(
        centroids, tensor('small_centroids'), atol=1e-6, rtol=1e-5
    )


class Flat(nn.Module):
    """A backbone of one matrix, so that gradients can be written down."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 8, bias=False)

    def forward(self, images):
        return (self.linear(images.flatten(1)),)


class Through(nn.Module):
    def forward(self, inputs):
        return [inputs[0]]


MODELS.register_module(module=Flat, name='FlatOfODC', force=True)
MODELS.register_module(module=Through, name='ThroughOfODC', force=True)


def test_loss_gradient_and_weights_after_a_step():
    model = MODELS.build(
        dict(
            type='OnlineDeepClustering',
            backbone=dict(type='FlatOfODC'),
            neck=dict(type='ThroughOfODC'),
            head=dict(
                type='ClsHead',
                loss=dict(type='ClusterCrossEntropy'),
                in_channels=8,
                num_classes=5,
            ),
            memory_bank=dict(
                type='OnlineClusteringMemory',
                length=80,
                feat_dim=8,
                num_classes=5,
                min_cluster=5,
            ),
        )
    )
    model.init_weights()
    with torch.no_grad():
        model.head.fc_cls.weight.normal_()
    model.memory_bank.load_state_dict(memory_at('init').state_dict())
    sizes = model.memory_bank.sizes()
    model.set_loss_weight(inverse_size_weights(sizes, 0.5))
    images, idx = torch.randn(6, 3, 2, 2), [3, 70, 11, 12, 40, 5]
    samples = [
        BaseDataElement(sample_idx=LabelData(value=torch.tensor([i])))
        for i in idx
    ]

    # By hand in float64: features, weighted cross entropy, its gradient.
    labels = DATA['init_labels'][idx]
    pixels = images.flatten(1).double().numpy()
    first = model.backbone.linear.weight.detach().double().numpy()
    last = model.head.fc_cls.weight.detach().double().numpy()
    features = pixels @ first.T
    logits = features @ last.T
    weights = 1 / np.sqrt(np.bincount(DATA['init_labels'], minlength=5))
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
    gradient = model.backbone.linear.weight.grad.double().numpy()
    assert float(got) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(
        gradient, (delta @ last).T @ pixels, rtol=1e-4, atol=1e-6
    )
    optimizer.step()
    np.testing.assert_allclose(
        model.head.fc_cls.weight.detach(),
        last - 0.5 * delta.T @ features,
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        model.backbone.linear.weight.detach(),
        first - 0.5 * (delta @ last).T @ pixels,
        rtol=1e-4,
        atol=1e-6,
    )
