"""What must survive a stop, declared once: kept, restored, converted."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.runtime import train_state
from ahpcl.runtime.train_state import TrainState, kept_state
from ahpcl.utils.deprecation import REMOVAL


class FakeRunner:
    """The part of a runner that a TrainState asks for."""

    register_hook = Runner.register_hook

    def __init__(self, resume=False, hooks=()):
        self._hooks = list(hooks)
        self._resume = resume
        self._has_loaded = False
        self.model = torch.nn.BatchNorm1d(2)
        self.train_loop = SimpleNamespace(resume_mid_epoch=self._begin_at)
        self.first = None

    @property
    def hooks(self):
        return self._hooks

    def _begin_at(self, batches):
        self.first = batches


class Holder:
    """Something with state."""

    def __init__(self, value=None):
        self.value = value

    def get(self):
        return self.value

    def set(self, value):
        self.value = value


def declare(state, holders):
    for name, holder in holders.items():
        scope = dict(
            per_rank=name.startswith('own'), within_epoch='epoch' in name
        )
        state.keep(name, holder.get, holder.set, **scope)


NAMES = ('shared', 'shared_epoch', 'own', 'own_epoch')


def saved(state, runner, batches=None, within=False):
    """What goes into a file at the end of an epoch, or within one."""
    checkpoint = {}
    if within:
        with state.within_epoch(batches):
            state.before_save_checkpoint(runner, checkpoint)
    else:
        state.after_train_epoch(runner)
        state.before_save_checkpoint(runner, checkpoint)
    return checkpoint


def resumed_from(checkpoint, **settings):
    runner = FakeRunner(resume=True, **settings)
    state = TrainState.of(runner)
    state.after_load_checkpoint(runner, checkpoint)
    return runner, state


@pytest.fixture
def written():
    """Checkpoints at the end of an epoch and within one."""
    runner = FakeRunner()
    state = TrainState.of(runner)
    declare(state, {name: Holder(name) for name in NAMES})
    return saved(state, runner), saved(state, runner, 3, within=True)


def test_the_layout(written):
    end, within = written
    assert end == {'ahpcl': {'shared': 'shared', 'ranks': [{'own': 'own'}]}}
    assert within == {
        'ahpcl': {
            'shared': 'shared',
            'shared_epoch': 'shared_epoch',
            'ranks': [{'own': 'own', 'own_epoch': 'own_epoch'}],
            'batches': 3,
        }
    }


def test_all_comes_back_within_an_epoch(written):
    runner, state = resumed_from(written[1])
    holders = {name: Holder() for name in NAMES}
    declare(state, holders)
    assert runner.first == 3
    assert {name: holder.value for name, holder in holders.items()} == {
        name: name for name in NAMES
    }


def test_an_epoch_that_begins_gets_nothing_of_another(written):
    runner, state = resumed_from(written[0])
    holders = {name: Holder('new') for name in NAMES}
    declare(state, holders)
    assert runner.first is None
    assert [holders[name].value for name in NAMES] == [
        *('shared', 'new', 'own', 'new')
    ]


def test_a_stop_before_the_first_epoch_keeps_what_was_restored(written):
    """No epoch has ended in the run that is stopped."""
    runner, state = resumed_from(written[0])
    declare(state, {name: Holder() for name in NAMES})
    assert saved(state, runner, None, within=True) == written[0]


def test_nothing_is_restored_by_load_from(written):
    runner = FakeRunner(resume=False)
    state = TrainState.of(runner)
    state.after_load_checkpoint(runner, written[0])
    holder = Holder('new')
    declare(state, {'shared': holder})
    assert holder.value == 'new' and not state.resumed


def test_nothing_is_restored_once_training_runs(written):
    runner, state = resumed_from(written[0])
    assert state.resumed
    state.before_train_epoch(runner)
    holder = Holder('new')
    declare(state, {'shared': holder})
    assert holder.value == 'new' and not state.resumed


@pytest.mark.parametrize('name', ['foreign', 'own_foreign'])
def test_a_checkpoint_without_a_part_is_of_another_method(written, name):
    _, state = resumed_from(written[0])
    with pytest.raises(ValueError, match=f'{name}.*another method.*load_from'):
        declare(state, {name: Holder()})


@pytest.mark.parametrize(
    'set',
    [lambda kept: kept['rungs'], lambda kept: kept.rungs, lambda kept: kept()],
)
def test_a_part_of_another_kind_is_of_another_method(written, set):
    _, state = resumed_from(written[0])
    with pytest.raises(ValueError, match=r'another kind.*another method'):
        state.keep('shared', lambda: None, set)


def test_what_a_part_says_of_its_state_stays(written):
    def refuse(kept):
        raise ValueError('of other images')

    _, state = resumed_from(written[0])
    with pytest.raises(ValueError, match=r'^of other images$'):
        state.keep('shared', lambda: None, refuse)


def test_none_is_nothing_to_restore():
    _, state = resumed_from({'ahpcl': {'policy': None}})
    holder = Holder('new')
    declare(state, {'policy': holder})
    assert holder.value == 'new'


def test_an_object_or_none_of_it():
    class Counter:
        def __init__(self, count):
            self.count = count

        def state_dict(self):
            return dict(count=self.count)

        def load_state_dict(self, state):
            self.count = state['count']

    runner = FakeRunner()
    state = TrainState.of(runner)
    state.keep_object('some', Counter(4))
    state.keep_object('none', None)
    checkpoint = saved(state, runner)
    assert checkpoint['ahpcl'] == dict(some=dict(count=4), none=None)
    _, state = resumed_from(checkpoint)
    again = Counter(0)
    state.keep_object('some', again)
    state.keep_object('none', None)
    assert again.count == 4


def test_other_ranks(written, monkeypatch):
    said = []
    monkeypatch.setattr(
        train_state, 'print_log', lambda text, **_: said.append(text)
    )
    for checkpoint in written:
        checkpoint['ahpcl']['ranks'] *= 2
    holder = Holder('new')
    _, state = resumed_from(written[0])
    declare(state, {'own': holder})
    assert holder.value == 'new'
    (text,) = said
    assert 'own of 1 process' in text and 'some of 2' in text
    _, state = resumed_from(written[1])
    with pytest.raises(ValueError, match='with 2 process'):
        declare(state, {'own': holder})


def test_a_loop_that_cannot_begin_within_an_epoch(written):
    runner = FakeRunner(resume=True)
    runner.train_loop = SimpleNamespace()
    state = TrainState.of(runner)
    with pytest.raises(ValueError, match='CheckedEpochTrainLoop'):
        state.after_load_checkpoint(runner, written[1])


def test_it_is_made_once_and_in_its_place():
    class Caller(Hook):
        priority = 'NORMAL'
        calls = 0

        def before_run(self, runner):
            self.calls += 1
            TrainState.of(runner)

    class Late(Hook):
        priority = 'LOW'

    callers = [Caller(), Caller()]
    runner = FakeRunner(hooks=[*callers, Late()])
    Runner.call_hook(runner, 'before_run')
    assert [type(hook) for hook in runner.hooks] == [
        *(Caller, Caller, TrainState, Late)
    ]
    # Though it came in while mmengine went through its list.
    assert [caller.calls for caller in callers] == [1, 1]


def test_files_need_no_pickle(tmp_path):
    runner = FakeRunner()
    state = TrainState.of(runner)
    rows = torch.ones(2, requires_grad=True) * 2
    value = dict(rows=(rows.detach(), [1.5, None]), name='text')
    declare(state, dict(shared=Holder(value), own=Holder(value)))
    torch.save(saved(state, runner), tmp_path / 'a.pth')
    kept = torch.load(tmp_path / 'a.pth', weights_only=True)['ahpcl']
    assert torch.equal(kept['shared']['rows'][0], rows)
    assert kept['ranks'][0]['own']['rows'][1] == [1.5, None]


# ---- version 0.1 ---------------------------------------------------------


def ahpcl_of_0_1():
    return dict(
        ladder=dict(rungs=[4, 2], window=1, position=0),
        policy=None,
        hierarchy=None,
        means=dict(sums=dict(acc_inst=3.0), counts=dict(acc_inst=2)),
        agreement=0.5,
        linkage='independent',
        log=dict(told_exhausted=False),
    )


def of_a_rank(number, **hooks):
    return dict(
        buffers=dict(bn=(torch.ones(2) * number, torch.ones(2))),
        hooks=hooks,
        batches=dict(images=10, batch_size=4),
        gradients=dict(weight=torch.ones(1) * number),
    )


def test_0_1_at_the_end_of_an_epoch():
    old = dict(ahpcl=ahpcl_of_0_1())
    with pytest.warns(FutureWarning, match='of version 0.1') as said:
        kept = kept_state(old)
    assert REMOVAL in str(said[0].message)
    new = {'bank', 'closing', 'index', 'signals', 'estep_epoch'}
    assert set(kept) == {'ladder', 'policy', 'hierarchy', 'log'} | new
    assert all(kept[name] is None for name in new)
    assert kept['ladder'] is old['ahpcl']['ladder']
    assert 'means' in old['ahpcl']  # what was read stays


def test_0_1_within_an_epoch():
    means = [dict(sums=dict(acc_inst=float(n)), counts={}) for n in range(2)]
    ranks = [
        of_a_rank(n, AdaptiveClusterHook=mean) for n, mean in enumerate(means)
    ]
    kept = kept_state(
        dict(ahpcl=ahpcl_of_0_1(), within_epoch=dict(batches=7, ranks=ranks))
    )
    assert kept['batches'] == 7
    assert kept['data'] == dict(images=10, batch_size=4)
    assert kept['agreement'] == 0.5
    for number, own in enumerate(kept['ranks']):
        assert own['means'] == means[number]
        assert own['batch_norm']['bn'][0].tolist() == [number, number]
        assert own['gradients']['weight'].tolist() == [number]


def test_0_1_of_relatives():
    labels = torch.arange(3).int()
    assert kept_state(dict(pseudo_labels=labels)) == dict(pseudo_labels=labels)
    queues = torch.arange(4.0).reshape(2, 1, 1, 2)
    kept = kept_state(dict(swav=dict(queues=queues, filled=9)))
    for queue, own in zip(queues, kept['ranks'], strict=True):
        assert torch.equal(own['queue']['features'], queue)
        assert own['queue']['filled'] == 9
    kept = kept_state(dict(swav=dict(queues=None, filled=0)))
    assert kept == dict(ranks=[dict(queue=None)])
    changes = dict(before=labels, changed=[0.5], small=1)
    within = dict(
        batches=1, ranks=[of_a_rank(0, OnlineClusteringHook=changes)]
    )
    assert kept_state(dict(within_epoch=within))['changes'] == changes


def test_a_file_without_state():
    assert kept_state(dict(state_dict={})) == {}


@HOOKS.register_module(force=True)
class Stateful(Hook):
    """Counts its steps, in a run without anything else of this project."""

    def before_run(self, runner):
        TrainState.of(runner)

    def before_train(self, runner):
        self.steps = 0
        TrainState.of(runner).keep('steps', lambda: self.steps, self._set)

    def _set(self, kept):
        self.steps = kept

    def after_train_iter(self, runner, *_, **__):
        self.steps += 1


def test_with_the_loop_and_the_checkpoints_of_mmengine(tmp_path):
    from mmengine.model import BaseModel

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, *inputs, mode='loss'):
            return dict(loss=self.layer(torch.stack(inputs)).sum())

    def run(epochs, **settings):
        runner = Runner(
            Model(),
            str(tmp_path),
            train_dataloader=dict(
                dataset=[torch.ones(1)] * 6,
                batch_size=2,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[
                dict(type='Stateful'),
                dict(type='SafeCheckpointHook'),
            ],
            experiment_name=f'plain_{epochs}',
            default_scope='mmengine',
            **settings,
        )
        runner.train()
        return next(h for h in runner.hooks if isinstance(h, Stateful)).steps

    assert run(2) == 6
    path = tmp_path / 'epoch_2.pth'
    assert run(3, resume=True, load_from=str(path)) == 9


def test_a_hook_that_asks_too_late_is_told():
    runner = FakeRunner(resume=True)
    runner._has_loaded = True
    state = TrainState.of(runner)  # in a run that only validates
    with pytest.raises(AssertionError, match='before_run'):
        declare(state, {'shared': Holder()})
