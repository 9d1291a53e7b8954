"""The classifier of cluster labels, against mmselfsup's and by hand."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, LabelData

from ahpcl.baselines.pseudo_label import (
    ClusterCrossEntropy,
    PseudoLabelClassifier,
)

CLUSTERS = 6


def classifier(neck=True, clusters=CLUSTERS):
    return MODELS.build(
        dict(
            type='PseudoLabelClassifier',
            backbone=dict(
                type='mmcls.ResNet_CIFAR',
                depth=18,
                stem_channels=4,
                base_channels=4,
                num_stages=2,
                strides=(1, 2),
                dilations=(1, 1),
                out_indices=(1,),
            ),
            neck=dict(type='AvgPool2dNeck') if neck else None,
            head=dict(
                type='ClsHead',
                loss=dict(type='ClusterCrossEntropy'),
                with_avg_pool=not neck,
                in_channels=8,
                num_classes=clusters,
            ),
        )
    )


def samples(*indices):
    return [
        BaseDataElement(sample_idx=LabelData(value=torch.tensor([i])))
        for i in indices
    ]


@pytest.fixture
def model():
    model = classifier()
    model.init_weights()
    return model


def test_weighted_mean_by_hand():
    loss = ClusterCrossEntropy()
    logits = torch.randn(5, 3, dtype=torch.bfloat16)
    labels = torch.tensor([0, 2, 1, 1, 0])
    rows = -torch.log_softmax(logits.float(), 1)[range(5), labels]
    torch.testing.assert_close(loss(logits, labels), rows.mean())
    loss.class_weight = torch.tensor([0.1, 0.3, 0.6])
    weight = loss.class_weight[labels]
    expected = (weight * rows).sum() / weight.sum()
    torch.testing.assert_close(loss(logits, labels), expected)
    # Only ratios count, whatever the weights sum to.
    loss.class_weight = 7 * loss.class_weight
    torch.testing.assert_close(loss(logits, labels), expected)


def test_the_hosts_loss_shrinks_with_the_number_of_clusters():
    """What is patched here: with equal weights it is K times too small."""
    host = MODELS.build(dict(type='mmcls.CrossEntropyLoss'))
    logits, labels = torch.randn(5, 100), torch.arange(5)
    plain = F.cross_entropy(logits, labels)
    host.class_weight = torch.full((100,), 1 / 100)
    torch.testing.assert_close(host(logits, labels), plain / 100)
    ours = ClusterCrossEntropy()
    ours.class_weight = host.class_weight
    torch.testing.assert_close(ours(logits, labels), plain)


def test_labels_are_looked_up_by_index(model):
    model.eval()  # batch norm would couple the images
    images = torch.randn(3, 3, 8, 8)
    labels = torch.tensor([5, 0, 3, 1, 2, 4, 4])
    model.set_pseudo_labels(labels)
    got = model.loss([images], samples(6, 0, 2))
    logits = model.head.fc_cls(model.backbone(images)[0].mean((2, 3)))
    wanted = torch.tensor([4, 5, 3])
    torch.testing.assert_close(got['loss'], F.cross_entropy(logits, wanted))
    hits = (logits.argmax(1) == wanted).float().mean() * 100
    torch.testing.assert_close(got['acc_cluster'], hits)
    weight = torch.arange(1.0, 7) / 21
    model.set_pseudo_labels(labels, weight)
    torch.testing.assert_close(
        model.loss([images], samples(6, 0, 2))['loss'],
        F.cross_entropy(logits, wanted, weight=weight),
    )
    model.set_pseudo_labels(labels)
    assert model.loss_weight.tolist() == pytest.approx([1 / 6] * 6)


def test_labels_are_no_state_of_the_module(model):
    model.set_pseudo_labels(torch.zeros(1000, dtype=torch.long))
    assert model.pseudo_labels.shape == (1000,)
    assert all(1000 not in v.shape for v in model.state_dict().values())
    assert all(1000 not in v.shape for v in model.buffers())


def test_what_is_clustered(model):
    model.eval()
    images = torch.randn(4, 3, 8, 8)
    maps = model.backbone(images)[0]
    torch.testing.assert_close(
        model.encode_features([images, images + 1]), maps.mean((2, 3))
    )
    torch.testing.assert_close(
        model.encode_logits(images), model.head.fc_cls(maps.mean((2, 3)))
    )
    bare = classifier(neck=False).eval()
    bare.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        bare.encode_logits(images), model.encode_logits(images)
    )


def test_the_head_starts_again_by_its_seed_alone(model):
    def weights():
        return {k: v.clone() for k, v in model.state_dict().items()}

    before, random_state = weights(), torch.get_rng_state()
    model.reset_head(3)
    first = weights()
    torch.rand(5)
    with torch.no_grad():
        model.head.fc_cls.bias.fill_(9)
    model.reset_head(3)
    again = weights()
    model.reset_head(4)
    other = weights()
    name = 'head.fc_cls.weight'
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], before[name])
    assert not torch.equal(first[name], other[name])
    # As init_cfg of mmselfsup says: normal, 0.01; no bias.
    assert float(first[name].std()) == pytest.approx(0.01, rel=0.4)
    assert not again['head.fc_cls.bias'].any()
    for key, value in before.items():
        if 'head' not in key:
            assert torch.equal(value, other[key]), key
    torch.set_rng_state(random_state)
    model.reset_head(3)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_clear_errors(model):
    images = torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match='PseudoLabelHook'):
        model.loss([images], samples(0, 1))
    model.set_pseudo_labels(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match='sample_idx'):
        model.loss([images], [BaseDataElement()] * 2)
    with pytest.raises(ValueError, match='got 0 to 6'):
        model.set_pseudo_labels(torch.tensor([0, 6]))
    with pytest.raises(ValueError, match='6 loss weights'):
        model.set_pseudo_labels(torch.tensor([0]), torch.ones(5))
    model.check_training(6, 2, [(3, 8, 8)])
    with pytest.raises(ValueError, match='5 images for 6 clusters'):
        model.check_training(5, 2, [(3, 8, 8)])


def test_evaluation_sees_the_backbone(model):
    assert isinstance(model, PseudoLabelClassifier)
    model.eval()
    images = torch.randn(2, 3, 8, 8)
    first, _ = model([images], samples(0, 1), mode='predict')
    torch.testing.assert_close(
        first.feature, model.backbone(images)[0].mean((2, 3))[0]
    )
