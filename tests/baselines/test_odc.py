"""ODC's memory and model on one process."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, LabelData

from ahpcl.baselines.odc import OnlineDeepClustering
from ahpcl.baselines.online_memory import OnlineClusteringMemory
from ahpcl.baselines.pseudo_label import (
    ClusterCrossEntropy,  # noqa: F401
)

IMAGES, DIM, CLUSTERS = 40, 6, 4


def memory(min_cluster=3):
    return OnlineClusteringMemory(IMAGES, DIM, CLUSTERS, 0.5, min_cluster)


def filled(**kwargs):
    bank = memory(**kwargs)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(IMAGES, DIM, generator=generator)
    bank.init_memory(features, torch.arange(IMAGES) % CLUSTERS)
    return bank, features


def odc(**changes):
    config = dict(
        type='OnlineDeepClustering',
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
        neck=dict(
            type='ODCNeck',
            in_channels=8,
            hid_channels=8,
            out_channels=DIM,
            norm_cfg=dict(type='BN1d'),
        ),
        head=dict(
            type='ClsHead',
            loss=dict(type='ClusterCrossEntropy'),
            in_channels=DIM,
            num_classes=CLUSTERS,
        ),
        memory_bank=dict(
            type='OnlineClusteringMemory',
            length=IMAGES,
            feat_dim=DIM,
            num_classes=CLUSTERS,
            min_cluster=3,
        ),
    )
    model = MODELS.build({**config, **changes})
    model.init_weights()
    return model


def samples(*indices):
    return [
        BaseDataElement(sample_idx=LabelData(value=torch.tensor([i])))
        for i in indices
    ]


def test_the_first_memories():
    bank, features = filled()
    assert bank.ready
    rows = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(bank.feature_bank, rows)
    for cluster in range(CLUSTERS):
        torch.testing.assert_close(
            bank.centroids[cluster], rows[cluster::CLUSTERS].mean(0)
        )
    assert bank.sizes().tolist() == [10] * 4


def test_a_step_image_by_image():
    bank, _ = filled()
    before, labels = bank.feature_bank.clone(), bank.label_bank.clone()
    generator = torch.Generator().manual_seed(5)
    new = 2 * torch.randn(7, DIM, generator=generator)
    idx = torch.tensor([3, 17, 30, 4, 8, 9, 22])
    ratio = bank.update_samples_memory(idx, new)
    changed = 0
    for row, index in zip(new, idx.tolist(), strict=True):
        row = (row / row.norm() + before[index]) / 2
        row = row / row.norm()
        torch.testing.assert_close(bank.feature_bank[index], row)
        label = int(np.argmax([float(row @ c) for c in bank.centroids]))
        assert int(bank.label_bank[index]) == label
        changed += label != int(labels[index])
    assert float(ratio) == pytest.approx(changed / 7)
    assert 0 < changed < 7
    rest = [i for i in range(IMAGES) if i not in idx.tolist()]
    assert torch.equal(bank.feature_bank[rest], before[rest])
    assert torch.equal(bank.label_bank[rest], labels[rest])


def test_of_an_image_seen_twice_the_first_counts():
    once, _ = filled()
    twice, _ = filled()
    new = torch.randn(4, DIM)
    expected = once.update_samples_memory(torch.tensor([5, 9]), new[:2])
    found = twice.update_samples_memory(torch.tensor([5, 9, 5, 9]), new)
    assert torch.equal(found, expected)
    for one, other in zip(once.buffers(), twice.buffers(), strict=True):
        assert torch.equal(one, other)


def test_small_clusters_are_filled_again():
    bank, _ = filled(min_cluster=6)
    bank.label_bank[bank.label_bank == 3] = 0
    bank.label_bank[:2] = 3
    assert bank.deal_with_small_clusters(seed=0) == 1
    assert int(bank.sizes().sum()) == IMAGES
    assert bank.sizes().min() > 0
    # One of 19 or 20 images was split.
    assert bank.sizes().max() < 19
    before = bank.label_bank.clone()
    if int(bank.sizes().min()) >= 6:
        assert bank.deal_with_small_clusters(seed=0) == 0
        assert torch.equal(bank.label_bank, before)


def test_all_of_it_is_in_the_checkpoint():
    bank, _ = filled()
    bank.update_samples_memory(torch.tensor([1, 2]), torch.randn(2, DIM))
    other = memory()
    assert not other.ready
    other.load_state_dict(bank.state_dict())
    assert other.ready
    new = torch.randn(2, DIM)
    one = bank.update_samples_memory(torch.tensor([2, 7]), new)
    two = other.update_samples_memory(torch.tensor([2, 7]), new)
    assert torch.equal(one, two)
    assert torch.equal(bank.feature_bank, other.feature_bank)


def test_the_hosts_memory_is_not_in_its_checkpoint():
    """What is patched here."""
    from mmselfsup.models.memories import ODCMemory

    host = ODCMemory(IMAGES, DIM, 0.5, CLUSTERS, 3)
    assert set(host.state_dict()) == {'centroids'}
    assert {'feature_bank', 'label_bank'} < set(memory().state_dict())


def test_refuses_bad_settings():
    with pytest.raises(ValueError, match='min_cluster'):
        OnlineClusteringMemory(IMAGES, DIM, CLUSTERS, 0.5, 11)
    with pytest.raises(ValueError, match='momentum'):
        OnlineClusteringMemory(IMAGES, DIM, CLUSTERS, 0.0)
    bank = memory()
    with pytest.raises(ValueError, match=r'memory_bank\.length'):
        bank.init_memory(torch.randn(39, DIM), torch.zeros(39).long())
    with pytest.raises(ValueError, match='num_classes=5 and 4'):
        odc(
            head=dict(
                type='ClsHead',
                loss=dict(type='ClusterCrossEntropy'),
                in_channels=DIM,
                num_classes=5,
            )
        )


def test_loss_uses_the_labels_of_before_the_step():
    model = odc().eval()  # without dropout
    images = torch.randn(3, 3, 8, 8)
    with pytest.raises(ValueError, match='OnlineClusteringHook'):
        model.loss([images], samples(0, 1, 2))
    model.memory_bank.init_memory(
        torch.randn(IMAGES, DIM), torch.arange(IMAGES) % CLUSTERS
    )
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4])
    model.set_loss_weight(weight)
    features = model.neck(model.backbone(images))[0]
    logits = model.head.fc_cls(features)
    labels = torch.tensor([3, 2, 1])
    expected = F.cross_entropy(logits, labels, weight=weight)
    idx = torch.tensor([7, 2, 1])
    rows = model.memory_bank.feature_bank[idx].clone()
    got = model.loss([images], samples(7, 2, 1))
    assert set(got) == {'loss', 'acc_cluster', 'change_ratio'}
    torch.testing.assert_close(got['loss'], expected)
    blend = rows + F.normalize(features.detach())
    torch.testing.assert_close(
        model.memory_bank.feature_bank[idx], F.normalize(blend)
    )
    torch.testing.assert_close(model.encode_neck(images), features)
    model.set_loss_weight(None)
    assert model.loss_weight.tolist() == [0.25] * 4


def test_checks_of_the_data():
    model = odc()
    assert isinstance(model, OnlineDeepClustering)
    model.check_training(IMAGES, 8, [(3, 8, 8)])
    with pytest.raises(ValueError, match=r'41.*got 40'):
        model.check_training(41, 8, [(3, 8, 8)])
    with pytest.raises(ValueError, match='3 images for 4 clusters'):
        model.check_training(3, 8, [(3, 8, 8)])
