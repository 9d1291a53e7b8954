import math

import torch

from ahpcl.engine import EpochMeans

CPU = torch.device('cpu')


def test_weighs_batches_by_their_size():
    means = EpochMeans()
    means.update(dict(acc_inst=torch.tensor(10.0)), 30)
    means.update(
        dict(acc_inst=torch.tensor(50.0), acc_proto=torch.tensor(7.0)), 10
    )
    result = means.compute(CPU)
    assert result == dict(acc_inst=20.0, acc_proto=7.0)


def test_nothing_seen_is_nan_and_reset_forgets():
    means = EpochMeans()
    assert math.isnan(means.compute(CPU)['acc_inst'])
    means.update(dict(acc_inst=1.0), 1)
    means.reset()
    assert math.isnan(means.compute(CPU)['acc_inst'])


def test_continues_from_its_state():
    means, twin = EpochMeans(), EpochMeans()
    means.update(dict(acc_inst=10.0, acc_proto=3.0), 4)
    twin.load_state_dict(means.state_dict())
    for either in (means, twin):
        either.update(dict(acc_inst=30.0, acc_proto=1.0), 12)
    assert means.compute(CPU) == twin.compute(CPU)
    assert means.compute(CPU)['acc_inst'] == 25.0
