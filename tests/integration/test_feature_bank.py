"""Runs whose E-step takes the keys of the training pass."""

import itertools

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ahpcl.engine.extraction import extract_shard
from toy import toy_config, train


class Keys(Hook):
    """Notes what the bank holds and whether an E-step extracted."""

    priority = 'LOWEST'

    def __init__(self):
        self.rows = []
        self.extracted = []
        self.passes = 0

    def before_train_epoch(self, runner):
        hook = cluster_hook(runner)
        if hook._last is not None:
            features = hook._estep.bank.rows
            assert bool((features.norm(dim=1) - 1).abs().max() < 1e-4)
            self.extracted.append(self.passes > 0)
            self.passes = 0
        self.rows.append(hook._estep.bank.rows.clone())


def cluster_hook(runner):
    return next(
        h for h in runner.hooks if type(h).__name__ == 'AdaptiveClusterHook'
    )


def bank_run(config):
    runner = Runner.from_cfg(config)
    seen = Keys()
    runner.register_hook(seen)

    def extract(*args, **kwargs):
        seen.passes += 1
        return extract_shard(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('ahpcl.engine.estep.extract_shard', extract)
        runner.train()
    return runner, seen


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bank')
    config = toy_config(folder, features='bank', refresh_every=3)
    runner, seen = bank_run(config)
    return runner, seen, folder


def test_an_e_step_extracts_at_first_and_then_every_so_many_epochs(straight):
    _, seen, _ = straight
    # Warm-up is epoch 0; E-steps before epochs 1 to 5, fresh in 1 and 4.
    assert seen.extracted == [True, False, False, True, False]


def test_the_bank_follows_training(straight):
    _, seen, _ = straight
    for before, now in itertools.pairwise(seen.rows):
        assert not torch.equal(before, now)
    cosine = (seen.rows[-1] * seen.rows[-2]).sum(1).mean()
    assert cosine > 0.5  # the same images in the same order


def test_a_resumed_run_goes_on_with_the_bank(straight, tmp_path):
    runner, _, folder = straight
    config = toy_config(tmp_path, features='bank', refresh_every=3)
    config.resume = True
    config.load_from = str(folder / 'epoch_3.pth')
    resumed, _ = bank_run(config)
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, runner.model.state_dict()[name]), name
    assert torch.equal(
        cluster_hook(resumed)._estep.bank.rows,
        cluster_hook(runner)._estep.bank.rows,
    )
    state = torch.load(folder / 'epoch_3.pth', weights_only=True)
    assert set(state['ahpcl']['bank']) == {'rows', 'known'}


@pytest.mark.parametrize(
    'settings', [dict(features='memory'), dict(refresh_every=0)]
)
def test_bad_settings_are_refused_at_once(tmp_path, settings):
    with pytest.raises(ValueError, match="'extract' or 'bank'"):
        train(toy_config(tmp_path, **settings))


def test_another_precision_of_the_extraction_is_refused(tmp_path):
    config = toy_config(tmp_path, extraction=dict(precision='half'))
    with pytest.raises(ValueError, match="got 'half'"):
        train(config)


def test_extraction_in_bfloat16_is_near(straight, tmp_path):
    from ahpcl.engine.extraction_settings import ExtractionSettings

    runner, _, _ = straight
    estep = cluster_hook(runner)._estep
    exact = extract_shard(runner.model, estep.dataloader).features
    half = extract_shard(
        runner.model,
        estep.dataloader,
        settings=ExtractionSettings('bfloat16'),
    ).features
    assert half.dtype == torch.float32
    cosine = (exact * half).sum(1)
    assert 0.99 < cosine.min() < 0.9999999
