"""Clusters of whitened features, and the loss that needs no centroids."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from ahpcl.core import PrototypeLevel
from ahpcl.core.contrast.classifier_loss import classify_clusters
from ahpcl.models import (
    ClusterClassifierLoss,
    WhitenedFeatures,
    pool_features,
)
from ahpcl.models.cluster_space import build_cluster_space
from ahpcl.utils.setting_error import SettingError
from thin_ahpcl import BATCH, batch, build, hierarchy

CLASSIFIER = dict(
    type='ClusterClassifierLoss', num_clusters=8, num_levels=2, feat_dim=8
)


def rows(number=200, channels=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator)
    return torch.randn(number, channels, generator=generator) @ mixing + 2


def whitened(**settings):
    return build(
        cluster_space='whitened',
        head=dict(type='HPCLHead', loss_proto=CLASSIFIER),
        **settings,
    )


# ---- the space ----------------------------------------------------------


def test_rows_are_uncorrelated_and_stay_in_their_axes():
    features = rows()
    space = WhitenedFeatures(6)
    space.fit(features)
    found = space(features)[0].double().numpy()
    np.testing.assert_allclose(
        np.cov(found, rowvar=False, bias=True), np.eye(6), atol=1e-4
    )
    # By NumPy: the root of the inverse covariance, which is symmetric.
    given = features.double().numpy()
    variances, axes = np.linalg.eigh(np.cov(given, rowvar=False, bias=True))
    root = axes / np.sqrt(variances) @ axes.T
    expected = (given - given.mean(axis=0)) @ root
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_smallest_components_are_left_out():
    features = rows()
    space = WhitenedFeatures(6, components=4)
    space.fit(features)
    assert np.linalg.matrix_rank(space(features)[0].numpy(), tol=1e-3) == 4


def test_features_that_move_little_give_rows_that_move_little():
    features = rows()
    one, other = WhitenedFeatures(6), WhitenedFeatures(6)
    one.fit(features)
    other.fit(features + 1e-3 * torch.randn_like(features))
    cosine = (one.unit_rows(features) * other.unit_rows(features)).sum(1)
    assert cosine.min() > 0.99


def test_a_model_maps_an_image_to_what_was_clustered():
    model = whitened().eval()
    (images, _), _ = batch(0)
    pooled = model.extract_pooled_keys(images)
    expected = pool_features(model.encoder_k[0](images))
    torch.testing.assert_close(pooled, expected)
    model.cluster_space.fit(pooled)
    torch.testing.assert_close(
        model.extract_keys(images), model.cluster_space.unit_rows(pooled)
    )
    # The fit is part of the checkpoint.
    other = whitened().eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        other.extract_keys(images), model.extract_keys(images)
    )


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(cluster_space='pooled'), "got 'pooled'"),
        (dict(cluster_space='whitened'), 'loss_proto that reads no centroids'),
        (
            dict(
                cluster_space='whitened',
                head=dict(
                    type='HPCLHead',
                    loss_proto=CLASSIFIER,
                    signal=dict(type='ProtoNCELoss'),
                ),
            ),
            'signal that reads no centroids',
        ),
        (
            dict(
                cluster_space='whitened',
                head=dict(
                    type='HPCLHead',
                    loss_proto=CLASSIFIER,
                    selection=dict(type='HierarchicalSelection'),
                ),
            ),
            'selection that reads no centroids',
        ),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_a_neck_that_does_not_tell_its_channels_is_refused():
    with pytest.raises(ValueError, match=r'model\.neck\.in_channels'):
        build_cluster_space('whitened', dict(type='IdentityNeck'))


def test_keys_of_the_training_pass_are_refused():
    with pytest.raises(ValueError, match="features='extract'"):
        whitened().keep_keys(12)


# ---- the loss -----------------------------------------------------------


def level(number=8, images=30):
    generator = torch.Generator().manual_seed(3)
    return PrototypeLevel(
        # In another space than the queries': it is not looked at.
        F.normalize(torch.randn(number, 5, generator=generator), dim=1),
        torch.randint(number, (images,), generator=generator),
        torch.ones(number),
    )


def test_a_level_has_its_own_weights_and_an_image_its_cluster():
    loss = ClusterClassifierLoss(8, 2, feat_dim=4, temperature=0.5)
    loss.use_levels((8, 3))
    coarse, index = level(3), torch.tensor([4, 9, 21, 28])
    query = F.normalize(torch.randn(4, 4), dim=1)
    found = loss(query, coarse, index, label_smoothing=0.1)
    expected = classify_clusters(
        query,
        loss.weights[1, :3],
        coarse.assignments[index],
        temperature=0.5,
        label_smoothing=0.1,
    )
    assert found == expected


def test_prototypes_of_an_e_step_start_anew_and_those_of_a_file_go_on():
    head = MODELS.build(dict(type='HPCLHead', loss_proto=CLASSIFIER))
    first = head.loss_proto.weights.detach().clone()
    head.set_prototypes(hierarchy(8, 3))
    assert torch.equal(head.loss_proto.weights, first)
    head.set_prototypes(hierarchy(8, 3), seed=5)
    drawn = head.loss_proto.weights.detach().clone()
    assert not torch.equal(drawn, first)
    head.set_prototypes(hierarchy(8, 3), seed=5)
    assert torch.equal(head.loss_proto.weights, drawn)
    norms = drawn.norm(dim=2)
    torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize('weight', [0.0, 1.0])
@pytest.mark.parametrize('levels', [(), (8, 3)])
def test_every_weight_has_a_gradient_for_a_parallel_wrapper(weight, levels):
    model = whitened()
    model.head.proto_weight = weight
    if levels:
        model.head.set_prototypes(hierarchy(*levels), seed=0)
    results = model.loss(*batch(0))
    sum(v for k, v in results.items() if k.startswith('loss')).backward()
    gradient = model.head.loss_proto.weights.grad
    assert gradient is not None
    assert bool(gradient.any()) == bool(levels and weight)


def test_a_ladder_without_weights_is_refused_with_numbers_that_fit():
    head = MODELS.build(dict(type='HPCLHead', loss_proto=CLASSIFIER))
    head.check_rungs((8, 4, 2), 2)
    for rungs, window in (((9, 4), 2), ((8, 4, 2), 3)):
        with pytest.raises(SettingError) as caught:
            head.check_rungs(rungs, window)
        assert caught.value.options == {
            'model.head.loss_proto.num_clusters': max(rungs),
            'model.head.loss_proto.num_levels': window,
        }


def test_a_loss_of_other_dimensions_is_refused_before_training():
    model = whitened()
    shapes = [(3, 8, 8)] * 2
    model.check_training(100, BATCH, shapes)
    model.head.loss_proto.feat_dim = 128
    with pytest.raises(SettingError, match=r'loss_proto\.feat_dim=8, the'):
        model.check_training(100, BATCH, shapes)


@pytest.mark.parametrize(
    'settings',
    [
        dict(num_clusters=1),
        dict(num_clusters=8, num_levels=0),
        dict(num_clusters=8, temperature=0.0),
    ],
)
def test_bad_numbers_are_refused(settings):
    with pytest.raises(ValueError, match=r'expected loss_proto\.'):
        ClusterClassifierLoss(**settings)
