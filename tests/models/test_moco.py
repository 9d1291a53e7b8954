"""AHPCL without prototypes is MoCo: beside mmselfsup's as it comes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import BaseDataElement
from torch import nn

from ahpcl.models import AHPCL
from ahpcl.utils.deprecation import REMOVAL
from small_encoders import CONTRAST, NECK, build

HOST = 'mmselfsup.MoCo'
OURS = 'AHPCL'


def method(kind=OURS, **changes):
    head = dict(type='HPCLHead') if kind == OURS else CONTRAST
    settings = dict(queue_len=8, feat_dim=6, momentum=0.9, head=head)
    return build(kind, **{**settings, **changes})


def views(batch=4, number=2):
    return [torch.randn(batch, 3, 2, 2) for _ in range(number)]


def test_mmselfsup_takes_multiples_of_the_batch_only():
    with pytest.raises(AssertionError):
        method(HOST, queue_len=10).loss(views(), [])


@pytest.mark.parametrize(('length', 'batch'), [(10, 4), (3, 4), (4, 4)])
def test_the_queue_holds_the_last_keys_for_any_length(length, batch):
    model = method(queue_len=length).eval()
    kept = []
    for _ in range(4):
        inputs = views(batch)
        model.loss(inputs)
        with torch.no_grad():
            backbone, neck = model.encoder_k
            rows = neck(backbone(inputs[1]))[0]
        kept += (rows / rows.norm(dim=1, keepdim=True)).tolist()
    columns = model.queue.features.t().roll(-int(model.queue.position), 0)
    torch.testing.assert_close(columns, torch.tensor(kept[-length:]))


class Initialised(nn.Module):
    """A backbone whose weights are drawn in ``init_weights``."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 10)

    def init_weights(self):
        nn.init.normal_(self.linear.weight)

    def forward(self, images):
        return (self.linear(images.flatten(1))[..., None, None],)


@pytest.mark.parametrize(('kind', 'same'), [(HOST, False), (OURS, True)])
def test_the_key_encoder_starts_as_the_query_encoder(kind, same):
    MODELS.register_module(module=Initialised, force=True)
    model = method(kind, backbone=dict(type='Initialised'))
    key = getattr(model.encoder_k, 'module', model.encoder_k)[0]
    assert torch.equal(key.linear.weight, model.backbone.linear.weight) is same


@pytest.mark.parametrize(('kind', 'same'), [(HOST, False), (OURS, True)])
def test_the_start_of_the_queue_does_not_depend_on_the_process(kind, same):
    queues = []
    for seed in range(2):
        torch.manual_seed(seed)
        queue = method(kind).queue
        queues.append(getattr(queue, 'features', queue))
    assert torch.equal(*queues) is same
    for queue in queues:
        torch.testing.assert_close(queue.norm(dim=0), torch.ones(8))


@pytest.mark.parametrize(('kind', 'same'), [(HOST, False), (OURS, True)])
def test_the_weights_do_not_depend_on_the_length_of_the_queue(kind, same):
    MODELS.register_module(module=Initialised, force=True)
    weights = []
    for length in (8, 16):
        torch.manual_seed(0)
        model = method(
            kind, queue_len=length, backbone=dict(type='Initialised')
        )
        weights.append(model.backbone.linear.weight)
    assert torch.equal(*weights) is same


class Scale(nn.Module):
    """Rows of the images themselves: no product that autocast rounds."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(12))

    def forward(self, images):
        return (images.flatten(1) * self.weight,)


class Same(nn.Module):
    def forward(self, rows):
        return list(rows)


@pytest.mark.parametrize(('kind', 'exact'), [(HOST, False), (OURS, True)])
def test_logits_are_not_rounded_under_autocast(kind, exact):
    for part in (Scale, Same):
        MODELS.register_module(module=part, force=True)
    model = method(
        kind,
        backbone=dict(type='Scale'),
        neck=dict(type='Same'),
        feat_dim=12,
        queue_len=64,
    )
    queue = getattr(model.queue, 'features', model.queue).double()
    inputs = views()
    query, key = (F.normalize(v.flatten(1).double()) for v in inputs)
    logits = torch.cat([(query * key).sum(1)[:, None], query @ queue], 1)
    expected = F.cross_entropy(logits / 0.2, torch.zeros(4).long())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = model.loss(inputs, [])
    (loss,) = (v for k, v in results.items() if 'loss' in k)
    error = abs(loss.item() - expected.item())
    assert error < 1e-6 if exact else error > 1e-4


def test_a_step_in_bfloat16_keeps_float32_state():
    model = method()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = model.loss(views())
    results['loss_inst'].backward()
    assert results['loss_inst'].dtype == torch.float32
    assert model.queue.features.dtype == torch.float32
    torch.testing.assert_close(
        model.queue.features.norm(dim=0), torch.ones(8), atol=1e-6, rtol=0
    )
    assert {p.grad.dtype for p in model.backbone.parameters()} == {
        torch.float32
    }


def run(model, batches):
    optimizer = torch.optim.SGD(
        [*model.backbone.parameters(), *model.neck.parameters()], lr=0.1
    )
    losses = []
    for inputs in batches:
        loss = model.loss(inputs)['loss_inst']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_the_state_dict_is_all_that_a_resume_needs():
    model = method(queue_len=10)
    batches = [views() for _ in range(6)]
    run(model, batches[:3])
    state = copy.deepcopy(model.state_dict())
    resumed = method(queue_len=10)
    resumed.load_state_dict(state)
    assert run(model, batches[3:]) == run(resumed, batches[3:])
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_only_the_query_encoder_has_gradients():
    model = method()
    model.loss(views())['loss_inst'].backward()
    for name, parameter in model.named_parameters():
        own = not name.startswith('encoder_k')
        assert (parameter.grad is not None) is own, name
        assert parameter.requires_grad is own


def test_the_accuracy_counts_keys_nearer_than_the_queue():
    model = method(queue_len=5).eval()
    image = torch.randn(6, 3, 2, 2)
    inputs = [image, image + 2 * torch.randn(6, 3, 2, 2)]
    rows = [model.neck(model.backbone(v))[0] for v in inputs]
    query, key = (r / r.norm(dim=1, keepdim=True) for r in rows)
    hits = sum(
        all((q @ k).item() > (q @ n).item() for n in model.queue.features.t())
        for q, k in zip(query, key, strict=True)
    )
    assert 0 < hits < 6
    accuracy = model.loss(inputs)['acc_inst'].item()
    assert accuracy == pytest.approx(100 * hits / 6)


def test_features_can_be_evaluated():
    model = method().eval()
    samples = [BaseDataElement() for _ in range(4)]
    (images,) = views(number=1)
    for sample, row in zip(
        model([images], samples, mode='predict'),
        model.backbone(images)[0].flatten(1),
        strict=True,
    ):
        torch.testing.assert_close(sample.feature, row)
    with pytest.raises(NotImplementedError):
        method(HOST)([images], samples, mode='predict')


def test_the_config_is_left_alone():
    preprocessor = dict(mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0])
    given = dict(preprocessor)
    method(data_preprocessor=preprocessor)
    assert preprocessor == given
    method(HOST, data_preprocessor=preprocessor)
    assert preprocessor != given


@pytest.mark.parametrize('momentum', [1, 1.5, -0.1])
def test_a_momentum_that_is_none_is_refused(momentum):
    with pytest.raises(ValueError, match='expected momentum in'):
        method(momentum=momentum)


def test_version_one_is_a_config():
    """A linear neck and the temperature 0.07."""
    model = method(
        neck=dict(
            type='LinearNeck',
            in_channels=10,
            out_channels=6,
            with_avg_pool=True,
        ),
        head=dict(
            type='HPCLHead',
            loss_inst=dict(type='InfoNCELoss', temperature=0.07),
        ),
    )
    assert NECK['type'] != 'LinearNeck'
    loss = model.loss(views())['loss_inst']
    loss.backward()
    assert torch.isfinite(loss)


def keys_of(model):
    return [p.clone() for p in model.encoder_k.parameters()]


def queries_of(model):
    return [*model.backbone.parameters(), *model.neck.parameters()]


def equal(some, others):
    return all(map(torch.equal, some, others))


def other_backbone():
    """Weights of a backbone alone, as a file to start from holds them."""
    state = method().state_dict()
    return {k: v + 1 for k, v in state.items() if k.startswith('backbone.')}


def test_loaded_query_weights_reach_the_key_encoder_before_the_first_step():
    """With mmengine's loader, and without any hook."""
    model = method(momentum=0.5)
    load_state_dict(model, other_backbone())
    assert not equal(keys_of(model), queries_of(model))
    run(model, [views()])
    # The optimizer stepped after the keys were made.
    assert not equal(keys_of(model), queries_of(model))
    twin = method(momentum=0.5)
    load_state_dict(twin, other_backbone())
    twin.neck.load_state_dict(model.neck.state_dict())
    with torch.no_grad():
        twin.loss(views())
    assert equal(keys_of(twin), queries_of(twin))


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
def test_the_key_encoder_of_a_training_that_goes_on_is_kept(load):
    model = method(momentum=1 - 1e-6)
    run(model, [views() for _ in range(3)])
    kept = keys_of(model)
    assert not equal(kept, queries_of(model))
    resumed = method(momentum=1 - 1e-6)
    if load == 'torch':
        resumed.load_state_dict(model.state_dict())
    else:
        load_state_dict(resumed, model.state_dict())
    run(resumed, [views()])
    run(model, [views()])
    for key, old, query in zip(
        keys_of(resumed), kept, queries_of(resumed), strict=True
    ):
        torch.testing.assert_close(key, old, atol=1e-4, rtol=0)
        assert not torch.equal(key, query)


def test_the_run_says_whether_it_starts_or_goes_on():
    model = method()
    run(model, [views() for _ in range(2)])
    model.start_training(seed=3, iteration=2)
    assert not equal(keys_of(model), queries_of(model))
    model.start_training(seed=3, iteration=0)
    assert equal(keys_of(model), queries_of(model))


def test_the_seed_is_that_of_the_process():
    """The Runner seeds torch before it builds a model."""
    orders = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = method()
        orders.append(torch.randperm(99, generator=model._generator('order')))
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_checkpoints_of_version_0_1_keep_their_key_encoder():
    """Of AHPCL, which counted no steps, and of MoCoBaseline."""
    model = method()
    run(model, [views() for _ in range(3)])
    state = model.state_dict()
    steps = state.pop('_extra_state')
    assert int(steps) == 3
    renamed = {
        name.replace('encoder_k.', 'encoder_k.module.'): value
        for name, value in state.items()
    }
    renamed['encoder_k.steps'] = steps
    for old, expected in ((state, 1), (renamed, 3)):
        for load in (nn.Module.load_state_dict, load_state_dict):
            loaded = method()
            load(loaded, dict(old))
            assert int(loaded.get_extra_state()) == expected
            assert equal(keys_of(loaded), keys_of(model))
            assert equal(queries_of(loaded), queries_of(model))


def test_the_old_name_builds_ahpcl_and_says_so():
    old = dict(
        type='MoCoBaseline',
        backbone=dict(type='SmallStem'),
        neck=NECK,
        head={**CONTRAST, 'temperature': 0.07},
        queue_len=8,
        feat_dim=6,
    )
    with pytest.warns(FutureWarning, match='AdaptiveClusterHook') as said:
        model = MODELS.build(old)
    assert REMOVAL in str(said[0].message)
    assert type(model) is AHPCL
    assert model.head.temperature == 0.07
    assert len(model.queue) == 8
