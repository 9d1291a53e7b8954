"""What every algorithm shares: pooled features and checks of the data."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, LabelData
from torch import nn

from ahpcl.models import PooledFeatures, pool_features
from ahpcl.models.features import (
    check_queue_length,
    check_view_shapes,
    sample_indices,
)
from thin_ahpcl import BATCH, batch, build


class Flat(nn.Module):
    """Takes images of 8 x 8 only, as a model with fixed positions does."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 5)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, images):
        return (self.norm(self.linear(images.flatten(1))),)


class Small(PooledFeatures, BaseModel):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def loss(self, inputs, data_samples=None):
        return dict(loss=self.backbone(inputs[0])[0].sum())


def test_the_last_map_is_averaged_over_its_places():
    maps = torch.arange(24.0).reshape(2, 3, 2, 2)
    expected = torch.tensor(
        [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]
    )  # by hand: the mean of four consecutive numbers
    assert torch.equal(pool_features((maps * 0, maps)), expected)
    assert torch.equal(pool_features(maps), expected)
    rows = torch.rand(2, 3, dtype=torch.float64)
    assert torch.equal(pool_features([rows]), rows.float())


def test_modes():
    model = Small(nn.Conv2d(3, 4, 1))
    images = torch.rand(2, 3, 5, 5)
    samples = [BaseDataElement(), BaseDataElement()]
    found = model([images, images + 1], samples, mode='predict')
    expected = model.backbone(images).mean((2, 3))
    for sample, row in zip(found, expected, strict=True):
        torch.testing.assert_close(sample.feature, row)
        assert not sample.feature.requires_grad
    assert torch.equal(model(images), model.backbone(images))
    assert set(model([images], mode='loss')) == {'loss'}
    with pytest.raises(ValueError, match="got 'train'"):
        model(images, mode='train')
    with pytest.raises(ValueError, match='data_samples'):
        model(images, mode='predict')


def test_indices_of_all_forms():
    cpu = torch.device('cpu')

    def samples(*values):
        return [BaseDataElement(sample_idx=value) for value in values]

    packed = samples(*(LabelData(value=torch.tensor([v])) for v in (7, 2)))
    assert sample_indices(packed, cpu).tolist() == [7, 2]
    assert sample_indices(samples(7, 2), cpu).tolist() == [7, 2]
    assert sample_indices([BaseDataElement()], cpu) is None
    assert sample_indices(None, cpu) is None


def test_a_queue_may_be_as_long_as_the_data():
    check_queue_length(100, 100)
    with pytest.raises(ValueError, match=r'99.*got 100'):
        check_queue_length(100, 99)


def test_views_that_the_backbone_cannot_take():
    model = Small(Flat())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    check_view_shapes(model, [(3, 8, 8)] * 2)
    with pytest.raises(ValueError, match=r'Flat.*6 x 4'):
        check_view_shapes(model, [(3, 8, 8), (3, 6, 4)])
    assert model.backbone.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


# ---- vision transformers --------------------------------------------------


def vit(kind='VisionTransformer', **changes):
    config = dict(
        type=f'mmcls.{kind}',
        arch=dict(
            embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32
        ),
        img_size=16,
        patch_size=8,
    )
    if kind == 'MoCoV3ViT':
        config['type'] = kind
        config.update(stop_grad_conv1=True)
    backbone = MODELS.build({**config, **changes})
    backbone.eval()  # which answers None
    return backbone


@pytest.mark.parametrize('kind', ['VisionTransformer', 'MoCoV3ViT'])
def test_the_class_token_is_what_a_transformer_says(kind):
    backbone = vit(kind, out_indices=(0, 1))
    images = torch.rand(3, 3, 16, 16)
    stages = backbone(images)
    # [map, class token] of both layers.
    assert [part.ndim for part in stages[-1]] == [4, 2]
    assert torch.equal(pool_features(stages), stages[1][1])
    assert torch.equal(pool_features(stages[0]), stages[0][1])


def test_without_its_token_the_map_is_averaged():
    backbone = vit(output_cls_token=False)
    (found,) = backbone(torch.rand(2, 3, 16, 16))
    expected = found.flatten(2).mean(2)
    torch.testing.assert_close(pool_features((found,)), expected)
    tokens = torch.rand(2, 5, 7)
    assert torch.equal(pool_features(tokens), tokens[:, 0])
    rows = torch.rand(2, 4)
    assert torch.equal(pool_features(([rows * 0, rows],)), rows)


@pytest.mark.parametrize(
    ('found', 'shown'),
    [
        ([], r'got \[\]'),
        ((dict(),), 'dict'),
        (torch.rand(3), r'\(3,\)'),
        ((torch.rand(1, 2, 3, 4, 5),), r'\[\(1, 2, 3, 4, 5\)\]'),
    ],
)
def test_features_of_no_known_kind(found, shown):
    with pytest.raises(ValueError, match=shown):
        pool_features(found)


def test_a_transformer_trains_and_its_token_is_evaluated():
    neck = dict(
        type='NonLinearNeck',
        in_channels=16,
        hid_channels=16,
        out_channels=8,
        vit_backbone=True,
        with_avg_pool=False,
        norm_cfg=dict(type='BN1d'),
    )
    backbone = dict(
        type='MoCoV3ViT',
        stop_grad_conv1=True,
        arch=dict(
            embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32
        ),
        img_size=16,
        patch_size=8,
    )
    model = build(backbone=backbone, neck=neck)
    views = [torch.rand(BATCH, 3, 16, 16) for _ in range(2)]
    _, samples = batch()
    model.check_training(40, BATCH, [(3, 16, 16)] * 2)
    losses = model.loss(views, samples)
    assert losses['loss_inst'].isfinite()
    model.eval()
    found = model(views[0], samples, mode='predict')
    token = model.backbone(views[0])[-1][1]
    for sample, row in zip(found, token, strict=True):
        torch.testing.assert_close(sample.feature, row)
    with pytest.raises(ValueError, match=r'got 9.*model\.feat_dim=8'):
        build(backbone=backbone, neck=neck, feat_dim=9).check_training(
            40, BATCH, [(3, 16, 16)] * 2
        )
    # The default neck pools maps: said before the first step.
    wrong = dict(neck, type='MoCoV2Neck')
    for key in ('vit_backbone', 'with_avg_pool', 'norm_cfg'):
        del wrong[key]
    model = build(backbone=backbone, neck=wrong)
    with pytest.raises(ValueError, match=r'MoCoV2Neck.*vit_backbone=True'):
        model.check_training(40, BATCH, [(3, 16, 16)] * 2)
    # Its other remedy.
    build(
        backbone=dict(backbone, output_cls_token=False), neck=wrong
    ).check_training(40, BATCH, [(3, 16, 16)] * 2)
