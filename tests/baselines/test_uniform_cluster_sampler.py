"""Uniform sampling over epochs, ranks and resumes; and what mmselfsup does."""

import numpy as np
import torch
from mmselfsup.datasets.samplers import DeepClusterSampler

from ahpcl.baselines.uniform_cluster_sampler import UniformClusterSampler

LABELS = [0] * 40 + [1] * 4 + [2] * 16


def sampler(rank=0, world_size=1, kind=UniformClusterSampler):
    made = kind(range(60), seed=3)
    made.rank, made.world_size = rank, world_size
    made.num_samples = 60 // world_size
    made.set_epoch(0)
    return made


def per_cluster(indices):
    return np.bincount(np.array(LABELS)[list(indices)], minlength=3).tolist()


def test_every_cluster_is_seen_equally_often_in_every_epoch():
    ours = sampler()
    before = np.random.get_state()[1].copy()
    ours.set_uniform_indices(LABELS, 3)
    epochs = []
    for epoch in range(3):
        ours.set_epoch(epoch)
        epochs.append(list(ours))
        assert len(epochs[-1]) == len(ours) == 60
        seen = per_cluster(epochs[-1])
        assert min(seen) >= 18 and max(seen) <= 21
    assert epochs[0] != epochs[1] != epochs[2]
    assert (np.random.get_state()[1] == before).all()


def test_the_host_forgets_after_an_epoch_and_reseeds_numpy():
    """What is patched here."""
    host = sampler(kind=DeepClusterSampler)
    before = np.random.get_state()[1].copy()
    host.set_uniform_indices(LABELS, 3)
    assert (np.random.get_state()[1] != before).any()
    assert max(per_cluster(host)) <= 21
    host.set_epoch(1)
    assert per_cluster(host) == [40, 4, 16]


def test_the_seed_of_the_run_counts():
    one, two = sampler(), sampler()
    two.seed = 4
    for each in (one, two):
        each.set_uniform_indices(LABELS, 3)
    assert list(one) != list(two)
    hosts = [sampler(kind=DeepClusterSampler) for _ in range(2)]
    hosts[1].seed = 4
    for host in hosts:
        host.set_uniform_indices(LABELS, 3)
    assert list(hosts[0]) == list(hosts[1])  # not so in mmselfsup


def test_ranks_share_one_draw():
    whole = sampler()
    whole.set_uniform_indices(LABELS, 3)
    whole = list(whole)
    for rank in range(2):
        part = sampler(rank, 2)
        part.set_uniform_indices(torch.tensor(LABELS), 3)
        assert list(part) == whole[rank::2]


def test_a_resumed_epoch_draws_the_same():
    straight, resumed = sampler(), sampler()
    for each in (straight, resumed):
        each.set_uniform_indices(LABELS, 3)
    list(straight)
    for each in (straight, resumed):
        each.set_epoch(1)
    assert list(straight) == list(resumed)


def test_plain_shuffling_before_there_are_labels():
    found = list(sampler())
    assert sorted(found) == list(range(60))
    assert found == list(sampler(kind=DeepClusterSampler))
