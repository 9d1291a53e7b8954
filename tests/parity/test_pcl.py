"""PCL by AHPCL's code path: the published code's numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmselfsup.structures import SelfSupDataSample
from torch import nn

from ahpcl.core import (
    KMeansSettings,
    PrototypeHierarchy,
    PrototypeLevel,
    build_hierarchy,
    concentration,
)
from small_encoders import NECK, build

PUBLISHED = Path(__file__).parent / 'data' / 'pcl.npz'
COUNTS = (20, 12)
VERSIONS = {
    'v1': (
        dict(type='LinearNeck', in_channels=10, out_channels=6),
        {'stem': 'backbone.linear', 'fc': 'neck.fc'},
    ),
    'v2': (
        NECK,
        {
            'stem': 'backbone.linear',
            'fc.0': 'neck.mlp.0',
            'fc.2': 'neck.mlp.2',
        },
    ),
}


@pytest.fixture(scope='module')
def published():
    with np.load(PUBLISHED) as data:
        return {name: torch.from_numpy(data[name]) for name in data.files}


def drawn_level(numbers, version, step, count):
    """The level with those prototypes alone that the step contrasted.

    The published code draws its negatives by ``random.sample``. Left with
    the batch's own and the drawn ones, all others are the negatives.
    """
    level = f'{version}/level/{count}'
    assignments = numbers[f'{level}/im2cluster']
    own = assignments[numbers[f'{version}/index/{step}']]
    used = torch.cat([own, numbers[f'{version}/drawn/{step}/{count}']])
    used = used.unique()
    # Images outside the batch are not looked up.
    new = torch.zeros(count, dtype=torch.long)
    new[used] = torch.arange(len(used))
    return PrototypeLevel(
        numbers[f'{level}/centroids'][used],
        new[assignments],
        numbers[f'{level}/density'][used],
    )


def samples(indices):
    result = []
    for index in indices:
        sample = SelfSupDataSample()
        sample.sample_idx = InstanceData(value=index)
        result.append(sample)
    return result


@pytest.mark.parametrize('version', VERSIONS)
def test_three_steps_are_those_of_the_published_code(version, published):
    neck, names = VERSIONS[version]
    model = build(
        'AHPCL',
        neck=neck,
        head=dict(
            type='HPCLHead',
            loss_proto=dict(type='ProtoNCELoss', negatives='batch'),
        ),
        shuffle_bn=False,
        queue_len=8,
        feat_dim=6,
        momentum=0.9,
    )

    def numbers(name):
        return published[f'{version}/{name}']

    pairs = [
        (f'{theirs}.{part}', model.get_parameter(f'{ours}.{part}'))
        for theirs, ours in names.items()
        for part in ('weight', 'bias')
    ]
    queries = [*model.backbone.parameters(), *model.neck.parameters()]
    assert {id(p) for p in queries} == {id(p) for _, p in pairs}
    with torch.no_grad():
        for name, parameter in pairs:
            parameter.copy_(numbers(f'start/{name}'))
        model.copy_query_to_key()
        model.queue.features.copy_(numbers('queue/0'))
    keys = dict(
        zip(map(id, queries), model.encoder_k.parameters(), strict=True)
    )
    optimizer = torch.optim.SGD(
        queries, lr=0.5, momentum=0.9, weight_decay=1e-2
    )
    for step in (1, 2, 3):
        levels = [drawn_level(published, version, step, k) for k in COUNTS]
        levels.sort(key=lambda level: -level.num_clusters)
        model.head.set_prototypes(PrototypeHierarchy(levels))
        results = model.loss(
            list(numbers(f'views/{step}')), samples(numbers(f'index/{step}'))
        )
        for name in ('loss_inst', 'loss_proto'):
            torch.testing.assert_close(
                results[name].detach(), numbers(f'{name}/{step}')
            )
        assert results['acc_inst'] == numbers(f'accuracy/{step}')
        optimizer.zero_grad()
        (results['loss_inst'] + results['loss_proto']).backward()
        optimizer.step()
        for name, parameter in pairs:
            found = {
                'gradient': parameter.grad,
                'query': parameter.detach(),
                'key': keys[id(parameter)],
            }
            for part, value in found.items():
                torch.testing.assert_close(
                    value,
                    numbers(f'{part}/{step}/{name}'),
                    atol=2e-6,
                    rtol=1e-5,
                    check_stride=False,
                )
        torch.testing.assert_close(
            model.queue.features, numbers(f'queue/{step}')
        )
        assert torch.equal(model.queue.position, numbers(f'pointer/{step}'))


def test_batches_repeat_a_prototype():
    """Else the steps above would not tell 'batch' from 'unique'."""
    with np.load(PUBLISHED) as data:
        for version in VERSIONS:
            own = data[f'{version}/level/12/im2cluster']
            own = own[data[f'{version}/index/1']]
            assert len(set(own.tolist())) < len(own)


@pytest.mark.parametrize('count', [25, 40, 250])
def test_phi_is_that_of_the_published_code(count, published):
    features = published['kmeans/features']
    raw = published[f'kmeans/{count}/raw']
    assignments = published[f'kmeans/{count}/assignments']
    phi = concentration(
        (features - raw[assignments]).norm(dim=1), assignments, count
    )
    torch.testing.assert_close(phi, published[f'kmeans/{count}/phi'])
    if count == 250:
        assert assignments.bincount().min() == 1  # takes the largest phi


@pytest.mark.parametrize('count', [25, 40, 250])
def test_the_e_step_is_that_of_the_published_code(count, published):
    """From its centroids, where k-means has converged: nothing moves.

    Distances are to the means, prototypes are the normalised means.
    """
    (level,) = build_hierarchy(
        published['kmeans/features'],
        [count],
        KMeansSettings(spherical=False, alpha=10.0),
        init={count: published[f'kmeans/{count}/raw']},
        temperature=0.2,
    )
    theirs = {
        name: published[f'kmeans/{count}/{name}']
        for name in ('assignments', 'centroids', 'phi')
    }
    assert torch.equal(level.assignments, theirs['assignments'])
    torch.testing.assert_close(level.centroids, theirs['centroids'])
    # Distances near 0 lose digits in faiss: it adds squares and a product.
    torch.testing.assert_close(
        level.concentration, theirs['phi'], atol=1e-5, rtol=1e-4
    )


def test_infonce_logits_are_those_of_the_published_code(published):
    model = build('AHPCL', head=dict(type='HPCLHead'), queue_len=8, feat_dim=6)
    with torch.no_grad():
        for theirs, ours in VERSIONS['v2'][1].items():
            for part in ('weight', 'bias'):
                model.get_parameter(f'{ours}.{part}').copy_(
                    published[f'v2/start/{theirs}.{part}']
                )
        first, second = published['v2/views/1']
        # Both encoders are the same in the first step.
        query, key = (
            nn.functional.normalize(model.neck(model.backbone(view))[0])
            for view in (first, second)
        )
        queue = published['v2/queue/0']
        logits = torch.cat([(query * key).sum(1, True), query @ queue], 1)
    torch.testing.assert_close(logits / 0.2, published['v2/logits/1'])
