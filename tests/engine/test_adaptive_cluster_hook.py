"""The controller with a toy model: what it does, and in which order."""

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS, TASK_UTILS
from mmengine.runner import Runner
from torch import nn

from ahpcl.core import ClusterLadder, Decision, FixedPolicy
from ahpcl.engine import AdaptiveClusterHook
from ahpcl.engine.cluster_log import ClusterLog, forget_scalars
from ahpcl.engine.epoch_means import EpochMeans
from ahpcl.models.feature_bank import FeatureBank

IMAGES, BATCHES = 40, 3  # of 16, 16 and 8 images
NUMBERS = itertools.count()


class ToyHead(nn.Module):
    """Takes prototypes and notes them; no part of the loss."""

    temperature = 0.2

    def __init__(self, calls):
        super().__init__()
        self.calls = calls
        self.hierarchy = None
        self.smoothing = []

    def check_linkage(self, linkage):
        self.linkage = linkage

    def check_rungs(self, rungs, window):
        self.rungs = rungs, window

    def set_prototypes(self, hierarchy, label_smoothing, seed=None):
        self.hierarchy = hierarchy
        self.smoothing.append(label_smoothing)
        self.calls.append(('prototypes', hierarchy.num_clusters))


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """One layer, whose accuracies follow a simple rule.

    The accuracy of a batch is its number, times ten for the prototypes.
    """

    def __init__(self):
        super().__init__()
        self.calls = []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(2, 3)
        self.head = ToyHead(self.calls)
        self.bank = None

    def start_training(self, seed, iteration):
        self.started = seed, iteration

    def keep_keys(self, num_images):
        self.bank = FeatureBank(num_images, 3, torch.device('cpu'))
        return self.bank

    def extract_keys(self, inputs):
        return F.normalize(self.layer(torch.stack(list(inputs))), dim=1)

    def forward(self, inputs, data_samples, mode='loss'):
        self.calls.append('step')
        keys = self.extract_keys(inputs)
        if self.bank is not None:
            chosen = torch.tensor([s.sample_idx for s in data_samples])
            self.bank.write(chosen, keys.detach())
        number = torch.tensor(float(data_samples[0].sample_idx // 16))
        found = dict(loss=keys.sum(), acc_inst=number)
        if self.head.hierarchy is not None:
            found['acc_proto'] = 10 * number
        return found


@TASK_UTILS.register_module(force=True)
class WatchedPolicy(FixedPolicy):
    """Notes what it is shown."""

    def __init__(self, epochs):
        super().__init__(epochs)
        self.shown = []

    def step(self, acc_inst, acc_proto, epoch, **more):
        self.shown.append(dict(more, inst=acc_inst, proto=acc_proto, at=epoch))
        return super().step(acc_inst, acc_proto, epoch, **more)


def samples():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(IMAGES, 2, generator=generator)
    return [
        dict(inputs=point, data_samples=SimpleNamespace(sample_idx=index))
        for index, point in enumerate(points)
    ]


def loader(**settings):
    return dict(
        batch_size=16,
        dataset=samples(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        **settings,
    )


def hook_config(**settings):
    return {
        'type': 'AdaptiveClusterHook',
        'extract_dataloader': loader(),
        'ladder': dict(rungs=[8, 6, 4, 2], window=2),
        'policy': dict(type='WatchedPolicy', epochs=2),
        'clustering': dict(n_init=1),
        **settings,
    }


def built(
    folder,
    epochs,
    *,
    model=None,
    runner=None,
    **hook,
):
    return Runner(
        model or dict(type='ToyModel'),
        str(folder),
        train_dataloader=loader(),
        train_cfg=dict(type='CheckedEpochTrainLoop', max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[hook_config(**hook)],
        default_scope='mmengine',
        randomness=dict(seed=0),
        experiment_name=f'controller_{next(NUMBERS)}',
        **{
            'default_hooks': dict(
                checkpoint=dict(
                    type='AtomicCheckpointHook', interval=1, step_interval=4
                ),
                plain=dict(type='SafeCheckpointHook'),
            ),
            **(runner or {}),
        },
    )


def run(folder, epochs, **settings):
    """Train; answers the model and the controller."""
    runner = built(folder, epochs, **settings)
    runner.train()
    (hook,) = (h for h in runner.hooks if isinstance(h, AdaptiveClusterHook))
    return runner.model, hook


def epochs_of(model):
    """The calls before the steps, of every epoch."""
    calls, found, steps = model.calls, [[]], 0
    for call in calls:
        if call == 'step':
            steps += 1
            if steps % BATCHES == 0:
                found.append([])
        else:
            found[-1].append(call)
    return found[:-1]


def log_of(folder):
    return '\n'.join(
        path.read_text() for path in sorted(Path(folder).glob('*/*.log'))
    )


# ---- the order -----------------------------------------------------------


def test_prototypes_come_before_the_steps_and_the_policy_after(tmp_path):
    model, hook = run(tmp_path, 5, warmup_epochs=1)
    assert epochs_of(model) == [
        [],  # the warm-up has none
        [('prototypes', (8, 6))],
        [('prototypes', (8, 6))],
        [('prototypes', (6, 4))],
        [('prototypes', (6, 4))],
    ]
    assert model.calls.count('step') == 5 * BATCHES
    # The policy is asked from the first epoch with prototypes.
    assert [shown['at'] for shown in hook.policy.shown] == [1, 2, 3, 4]
    rungs = [shown['rungs'] for shown in hook.policy.shown]
    assert rungs == [(8, 6), (8, 6), (6, 4), (6, 4)]
    assert hook.ladder.current == (4, 2)
    assert model.head.linkage == 'independent'


def test_the_policy_sees_means_over_images(tmp_path):
    _, hook = run(tmp_path, 2)
    # Batches 0, 1 and 2 of 16, 16 and 8 images.
    mean = (16 * 0 + 16 * 1 + 8 * 2) / 40
    for shown in hook.policy.shown:
        assert shown['inst'] == pytest.approx(mean)
        assert shown['proto'] == pytest.approx(10 * mean)


def test_between_e_steps_the_policy_sees_means_over_epochs(
    tmp_path, monkeypatch
):
    accuracies = iter([(1, 10), (3, 30), (5, 20), (7, 40), (8, 50)])

    def compute(means, device):
        return dict(
            zip(('acc_inst', 'acc_proto'), next(accuracies), strict=True)
        )

    monkeypatch.setattr(EpochMeans, 'compute', compute)
    policy = dict(WATCHED, epochs=3)
    _, hook = run(tmp_path, 3, interval=2, policy=policy)
    again = dict(resume=True)
    _, other = run(tmp_path, 5, runner=again, interval=2, policy=policy)
    shown = [
        (seen['inst'], seen['proto'])
        for policy in (hook.policy, other.policy)
        for seen in policy.shown
    ]
    # The ladder moves after three epochs; what follows is of another rung.
    assert shown == [(1, 10), (2, 20), (4, 25), (7, 40), (7.5, 45)]
    text = (
        'the policy saw means over epochs, acc_inst 4.00 and acc_proto 25.00'
    )
    assert text in log_of(tmp_path)


def test_agreement_is_shown_once_it_is_known(tmp_path):
    _, hook = run(tmp_path, 4, interval=2, policy=dict(WATCHED, epochs=9))
    agreement = [shown['agreement'] for shown in hook.policy.shown]
    # E-steps before epochs 0 and 2; the first has none before it.
    assert agreement[0] is agreement[1] is agreement[3] is None
    assert -1 <= agreement[2] <= 1


def test_between_two_e_steps_an_advance_forces_one(tmp_path):
    model, _ = run(tmp_path, 6, interval=4)
    # Due before epochs 0 and 4; the ladder moves after epochs 1, 3 and 5.
    assert [len(made) for made in epochs_of(model)] == [1, 0, 1, 0, 1, 0]


def test_an_e_step_serves_its_epochs_from_when_it_came(tmp_path):
    policy = dict(type='WatchedPolicy', epochs=5)
    model, _ = run(tmp_path, 7, interval=3, policy=policy)
    # The ladder moves after epoch 4, so that the next one comes with epoch 8.
    expected = [1, 0, 0, 1, 0, 1, 0]
    assert [len(made) for made in epochs_of(model)] == expected
    other, _ = run(
        tmp_path, 10, runner=dict(resume=True), interval=3, policy=policy
    )
    # Epoch 7 begins with the prototypes that the run had ended with.
    assert [len(made) for made in epochs_of(other)][-3:] == [1, 0, 0]


def test_without_a_policy_the_ladder_stays(tmp_path):
    model, hook = run(tmp_path, 3, policy=None)
    assert hook.ladder.current == (8, 6)
    assert epochs_of(model) == [[('prototypes', (8, 6))]] * 3


def test_smoothing_is_that_of_the_rungs_in_use(tmp_path):
    model, _ = run(tmp_path, 3, label_smoothing=dict(ceiling=0.2))
    first, _, third, closing = model.head.smoothing
    newest = 0.2 * ((8 - 6) / 8) ** 0.5
    assert first == pytest.approx({8: newest, 6: newest})
    newest = 0.2 * ((8 - 4) / 8) ** 0.5
    assert third == closing == pytest.approx({6: newest, 4: newest})
    model, _ = run(tmp_path / 'none', 1)
    assert model.head.smoothing == [{8: 0, 6: 0}] * 2


def test_a_bank_takes_the_place_of_extractions(tmp_path, monkeypatch):
    seen = []
    extract = ToyModel.extract_keys

    def count(self, inputs):
        seen.append(self.training)
        return extract(self, inputs)

    monkeypatch.setattr(ToyModel, 'extract_keys', count)
    run(tmp_path, 5, features='bank', refresh_every=3)
    # In eval mode only before epochs 0 and 3, and at the end.
    assert seen.count(False) == 3 * BATCHES
    # The log says what was saved.
    lines = re.findall(
        r'E-step (?:before|after) .* s, clust', log_of(tmp_path)
    )
    spared = [' for an extraction of ' in line for line in lines]
    assert spared == ['keys of the bank' in line for line in lines]
    assert spared == [False, True, True, False, True, False]


def test_what_comes_every_few_epochs_comes_with_the_next_e_step(tmp_path):
    never = dict(WATCHED, epochs=99)
    warm = dict(n_init=1, warm_start=True, restart_every=3)
    run(
        tmp_path,
        11,
        interval=2,
        warmup_epochs=1,
        policy=never,
        clustering=warm,
        features='bank',
        refresh_every=3,
    )
    lines = re.findall(r'E-step before epoch \d+: .*', log_of(tmp_path))
    # In the epochs 1, 3, 5, 7 and 9 from 0: cold from 0, 3, 6 and 9 on.
    cold = ['new seeds' in line for line in lines]
    assert cold == [True, True, False, True, True]
    # 0, 2, 4, 6 and 8 epochs after the warm-up: fresh from 0, 3 and 6 on.
    kept = ['keys of the bank' in line for line in lines]
    assert kept == [False, True, False, False, True]


def test_an_epoch_without_an_estep_says_what_one_takes(tmp_path):
    run(tmp_path, 4, interval=2)
    lines = re.findall(r'epoch \d: acc_inst .*', log_of(tmp_path))
    none = ['none in it; the last took ' in line for line in lines]
    assert none == [False, True, False, True]


# ---- the end -------------------------------------------------------------


def is_of_its_weights(checkpoint):
    """Whether every image is at the nearest prototype of its own key."""
    state = torch.load(checkpoint, weights_only=True)
    model = ToyModel()
    model.load_state_dict(state['state_dict'])
    with torch.no_grad():
        keys = model.extract_keys([s['inputs'] for s in samples()])
    levels = state['ahpcl']['hierarchy']['levels']
    return all(
        torch.equal(
            (keys @ level['centroids'].T).argmax(dim=1), level['assignments']
        )
        for level in levels
    ), tuple(len(level['centroids']) for level in levels)


def test_the_last_checkpoint_has_prototypes_of_its_weights(tmp_path):
    _, hook = run(tmp_path, 4, warmup_epochs=1)
    # The ladder moved after the third epoch.
    assert is_of_its_weights(tmp_path / 'epoch_4.pth') == (True, (6, 4))
    # Others hold those of the weights before their epoch.
    assert not is_of_its_weights(tmp_path / 'epoch_3.pth')[0]
    assert hook.ladder.current == (6, 4)
    assert 'E-step after epoch 4, for the last weights' in log_of(tmp_path)


def test_a_longer_run_goes_on_as_if_it_had_not_ended(tmp_path):
    """The last E-step is that of the next epoch, and not made again."""
    settings = dict(
        warmup_epochs=1, clustering=dict(n_init=1, warm_start=True)
    )
    straight, whole = run(tmp_path / 'a', 6, **settings)
    run(tmp_path / 'b', 3, **settings)
    model, hook = restored(
        tmp_path / 'c', tmp_path / 'b' / 'epoch_3.pth', 6, **settings
    )
    assert len(epochs_of(model)[0]) == 1  # those of the checkpoint
    assert hook.policy.shown == whole.policy.shown[-3:]
    assert hook.policy.shown[0]['agreement'] is not None
    for key, value in straight.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    states = [
        torch.load(tmp_path / name / 'epoch_6.pth', weights_only=True)
        for name in 'ac'
    ]
    one, two = (state['ahpcl']['hierarchy']['levels'] for state in states)
    for level, other in zip(one, two, strict=True):
        assert torch.equal(level['assignments'], other['assignments'])
        assert torch.equal(level['centroids'], other['centroids'])


def test_a_finished_run_can_be_resumed_for_nothing(tmp_path):
    run(tmp_path, 2)
    model, hook = restored(tmp_path / 'b', tmp_path / 'epoch_2.pth', 2)
    assert model.calls == [('prototypes', (6, 4))]
    assert hook.ladder.current == (6, 4)


def test_a_run_that_ends_in_its_warm_up_clusters_nothing(tmp_path):
    model, _ = run(tmp_path, 2, warmup_epochs=2)
    assert model.calls == ['step'] * 2 * BATCHES


class StopEarly(Hook):
    """A condition that ends a run, as mmengine's EarlyStoppingHook does."""

    priority = 'LOWEST'

    def after_train_epoch(self, runner):
        runner.train_loop.stop_training = runner.epoch == 2


@pytest.mark.parametrize('interval', [1, 10])
def test_a_run_that_a_condition_ends_is_closed_too(tmp_path, interval):
    hooks = dict(
        checkpoint=dict(type='AtomicCheckpointHook', interval=interval),
        plain=dict(type='SafeCheckpointHook'),
    )
    runner = built(tmp_path, 9, runner=dict(default_hooks=hooks))
    runner.register_hook(StopEarly())
    runner.train()
    assert runner.epoch == 3
    assert is_of_its_weights(tmp_path / 'epoch_3.pth') == (True, (6, 4))
    assert 'epoch_3.pth' in (tmp_path / 'last_checkpoint').read_text()
    # More epochs go on from there.
    model, _ = restored(tmp_path / 'b', tmp_path / 'epoch_3.pth', 4)
    assert model.calls.count('step') == BATCHES


# ---- stops ---------------------------------------------------------------

WATCHED = dict(type='WatchedPolicy')


def restored(folder, checkpoint, epochs, **settings):
    start = dict(resume=True, load_from=str(checkpoint))
    return run(folder, epochs, runner=start, **settings)


@pytest.mark.parametrize('features', ['extract', 'bank'])
def test_a_run_goes_on_where_it_stopped(tmp_path, features):
    settings = dict(features=features, warmup_epochs=1)
    straight, whole = run(tmp_path / 'a', 5, **settings)
    # Within the third epoch and at the end of it.
    for name, done in (('epoch_2_batch_2', 8), ('epoch_3', 9)):
        start = tmp_path / 'a' / f'{name}.pth'
        if not start.exists():  # deleted when its epoch ended
            short = tmp_path / name
            with pytest.raises(KeyboardInterrupt):
                run(short, 5, model=stopping_after(done), **settings)
            start = short / f'{name}.pth'
        model, hook = restored(tmp_path / f'{name}_on', start, 5, **settings)
        assert model.calls.count('step') == 5 * BATCHES - done
        # The E-step of an epoch that was begun is not made again, only
        # handed over.
        assert model.calls[0] == ('prototypes', (8, 6))
        shown = len(hook.policy.shown)
        assert hook.policy.shown == whole.policy.shown[-shown:]
        assert hook.ladder.state_dict() == whole.ladder.state_dict()
        assert hook.policy.state_dict() == whole.policy.state_dict()
        for key, value in straight.state_dict().items():
            assert torch.equal(value, model.state_dict()[key]), (name, key)


def stopping_after(steps):
    """A model that fails in the step after so many."""
    model = ToyModel()
    forward = model.forward

    def interrupted(*args, **kw):
        if model.calls.count('step') == steps:
            raise KeyboardInterrupt
        return forward(*args, **kw)

    model.forward = interrupted
    return model


def test_load_from_starts_the_ladder_again(tmp_path):
    run(tmp_path, 3)
    start = dict(load_from=str(tmp_path / 'epoch_3.pth'))
    _, hook = run(tmp_path / 'b', 1, runner=start)
    assert hook.ladder.current == (8, 6)


def test_the_end_of_the_ladder_is_told_once_also_over_a_stop(tmp_path):
    ladder, policy = dict(rungs=[8, 4], window=1), dict(WATCHED, epochs=1)
    settings = dict(ladder=ladder, policy=policy)
    run(tmp_path / 'a', 4, **settings)
    said = 'nothing left to advance to'
    assert log_of(tmp_path / 'a').count(said) == 1
    restored(tmp_path / 'b', tmp_path / 'a' / 'epoch_4.pth', 6, **settings)
    assert said not in log_of(tmp_path / 'b')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(policy=dict(type='PlateauPolicy')), 'PlateauPolicy'),
        (dict(ladder=dict(rungs=[9, 7, 5], window=2)), '9, 7, 5'),
    ],
)
def test_a_checkpoint_of_other_settings(tmp_path, settings, message):
    run(tmp_path, 1)
    with pytest.raises(ValueError, match=message):
        restored(tmp_path / 'b', tmp_path / 'epoch_1.pth', 2, **settings)


# ---- errors --------------------------------------------------------------


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(warmup_epochs=-1), 'warmup_epochs'),
        (dict(interval=0), 'interval'),
        (dict(linkage='nested'), "'nested'"),
        (dict(features='queue'), "'queue'"),
        (dict(features='bank', refresh_every=0), 'refresh_every'),
        (
            dict(
                policy=dict(type='StabilityPolicy', agreement=0.9),
                clustering=dict(warm_start=True),
            ),
            r'warm_start=False.*StabilityPolicy',
        ),
    ],
)
def test_settings_that_cannot_work(settings, message):
    options = hook_config(**settings)
    del options['type']
    with pytest.raises(ValueError, match=message):
        AdaptiveClusterHook(**options)


def test_a_rung_that_the_images_cannot_fill(tmp_path):
    with pytest.raises(ValueError, match='30'):
        run(tmp_path, 1, ladder=dict(rungs=[30, 8], window=1))
    assert not list(tmp_path.glob('*.pth'))


@MODELS.register_module(force=True)
class NoKeys(BaseModel):
    """Another method."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, *_, **__):
        raise AssertionError('not reached')


def test_another_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'AHPCL'.*NoKeys"):
        run(tmp_path, 1, model=dict(type='NoKeys'))


def test_features_that_are_no_numbers(tmp_path):
    model = ToyModel()
    with torch.no_grad():
        model.layer.weight.fill_(float('nan'))
    with pytest.raises(FloatingPointError, match=r'features of 40.*Remedies'):
        run(tmp_path, 1, model=model)


# ---- the log -------------------------------------------------------------


class Listener:
    """A runner that keeps what is logged."""

    def __init__(self, max_epochs=10):
        self.lines, self.scalars = [], {}
        self.max_epochs, self.epoch, self.iter = max_epochs, 3, 70
        self.logger = SimpleNamespace(
            info=lambda text: self.lines.append(('info', text)),
            warning=lambda text: self.lines.append(('warning', text)),
        )
        self.visualizer = SimpleNamespace(
            add_scalars=lambda values, step: self.scalars.update(values)
        )
        self.message_hub = SimpleNamespace(log_scalars={}, _resumed_keys={})


@pytest.mark.parametrize(
    ('epochs', 'level', 'words'),
    [
        (10, 'info', 'need 6 epochs at least, 6 at most; 10 epochs are set'),
        (5, 'warning', 'the ladder cannot end'),
    ],
)
def test_the_plan_compares_epochs(epochs, level, words):
    heard = Listener(epochs)
    ladder = ClusterLadder([8, 6, 4, 2], window=2)
    ClusterLog().plan(heard, ladder, FixedPolicy(2), first_epoch=2)
    ((how, text),) = heard.lines
    assert how == level and words in text


def test_the_plan_without_a_limit_or_a_policy():
    from ahpcl.core import PlateauPolicy

    ladder = ClusterLadder([8, 6, 4, 2], window=2)
    heard = Listener()
    ClusterLog().plan(heard, ladder, PlateauPolicy(), first_epoch=0)
    ClusterLog().plan(heard, ladder, None, first_epoch=0)
    (how, text), (_, other) = heard.lines
    assert how == 'warning' and 'may not end' in text
    assert 'no policy, the ladder stays' in other


def told(log, action, *, advanced=False, seconds=4.0, **changes):
    heard = Listener()
    ladder = ClusterLadder([8, 6, 4], window=2)
    rungs = ladder.current
    if advanced:
        ladder.advance()
    heard.message_hub.log_scalars = {
        f'train/acc_proto_k{rung}': rung for rung in (8, 6)
    }
    settings = dict(
        means=dict(acc_inst=50.0, acc_proto=25.0),
        shown=None,
        rungs=rungs,
        decision=None if action is None else Decision(action, 'as tested'),
        advanced=advanced,
        ladder=ladder,
        policy=SimpleNamespace(threshold=0.02),
        agreement=0.75,
        estep=SimpleNamespace(extract_seconds=0.5, cluster_seconds=0.5),
        seconds=seconds,
    )
    log.epoch(heard, **{**settings, **changes})
    return heard


def test_an_epoch_and_its_scalars():
    heard = told(ClusterLog(), 'raise_threshold')
    ((_, text),) = heard.lines
    assert 'epoch 4: acc_inst 50.00, acc_proto 25.00 at K = 8, 6' in text
    assert 'raise_threshold: as tested' in text
    assert heard.scalars == {
        'epoch/acc_inst': 50.0,
        'epoch/acc_proto': 25.0,
        'ladder/newest': 6,
        'policy/agreement': 0.75,
        'policy/action': 1,
        'policy/threshold': 0.02,
        'estep/share': 25.0,
    }


def test_means_for_the_policy_are_logged_beside_those_of_the_epoch():
    heard = told(ClusterLog(), 'keep', shown=(49.0, 23.0))
    assert heard.scalars['epoch/acc_proto'] == 25.0
    assert heard.scalars['policy/acc_inst'] == 49.0
    assert heard.scalars['policy/acc_proto'] == 23.0


def test_an_epoch_of_the_warm_up():
    nothing = dict(acc_inst=50.0, acc_proto=float('nan'))
    heard = told(ClusterLog(), None, means=nothing, agreement=None, estep=None)
    assert 'warm-up without prototypes' in heard.lines[0][1]
    assert heard.scalars == {'epoch/acc_inst': 50.0, 'estep/share': 0.0}


def test_a_rung_that_left_the_window_leaves_the_log():
    heard = told(ClusterLog(), 'advance', advanced=True)
    assert heard.lines[-1] == ('info', 'ladder: now 6, 4')
    assert heard.message_hub.log_scalars == {'train/acc_proto_k6': 6}
    forget_scalars(heard, {17})  # never logged


def test_the_log_remembers_what_it_told():
    log = ClusterLog()
    assert 'nothing left' in told(log, 'advance').lines[-1][1]
    again = ClusterLog()
    again.load_state_dict(log.state_dict())
    assert len(told(again, 'advance').lines) == 1
