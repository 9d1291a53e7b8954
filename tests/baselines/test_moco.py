"""MoCo: what it mends of the host, each beside the host as it comes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from small_encoders import CONTRAST, NECK, build

HOST = 'mmselfsup.MoCo'
OURS = 'MoCoBaseline'


def method(kind=OURS, **changes):
    settings = dict(queue_len=8, feat_dim=6, momentum=0.9, head=CONTRAST)
    return build(kind, **{**settings, **changes})


def views(batch=4, number=2):
    return [torch.randn(batch, 3, 2, 2) for _ in range(number)]


def test_the_host_takes_multiples_of_the_batch_only():
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
            rows = model.encoder_k(inputs[1])[0]
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
    key = model.encoder_k.module[0].linear.weight
    assert torch.equal(key, model.backbone.linear.weight) is same


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
    for number, inputs in enumerate(batches):
        torch.manual_seed(number)  # as SampleSeedHook does
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


@pytest.mark.parametrize('momentum', [0, 1, 1.5, -0.1])
def test_a_momentum_that_is_none_is_refused(momentum):
    with pytest.raises(ValueError, match='expected momentum between 0 and 1'):
        method(momentum=momentum)


def test_unfit_data_is_refused_before_the_first_step():
    model = method()
    shape = (3, 2, 2)
    model.check_training(num_images=8, batch_size=3, view_shapes=[shape] * 2)
    with pytest.raises(ValueError, match=r'at most 7 keys.*got 8'):
        model.check_training(7, 3, [shape] * 2)
    with pytest.raises(ValueError, match='two views of every image, got 1'):
        model.check_training(8, 3, [shape])
    with pytest.raises(ValueError, match='5 x 5 pixels'):
        model.check_training(8, 3, [shape, (3, 5, 5)])
    with pytest.raises(ValueError, match='two views of every image, got 1'):
        model.loss(torch.randn(4, 3, 2, 2))


def test_version_one_is_a_config():
    """A linear neck and the temperature 0.07."""
    model = method(
        neck=dict(
            type='LinearNeck',
            in_channels=10,
            out_channels=6,
            with_avg_pool=True,
        ),
        head={**CONTRAST, 'temperature': 0.07},
    )
    assert NECK['type'] != 'LinearNeck'
    loss = model.loss(views())['loss_inst']
    loss.backward()
    assert torch.isfinite(loss)


def with_norm(kind):
    MODELS.register_module(module=Normed, force=True)
    return method(kind, backbone=dict(type='Normed'))


class Normed(nn.Module):
    """A backbone with the buffers of batch norm."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 10)
        self.norm = nn.BatchNorm1d(10)

    def forward(self, images):
        return (self.norm(self.linear(images.flatten(1)))[..., None, None],)


def test_the_average_is_that_of_the_host_to_the_bit():
    """First a copy, then a moving average; buffers follow the query's."""
    ours, host = with_norm(OURS), with_norm(HOST)
    with torch.no_grad():
        for parameter in ours.encoder_k.parameters():
            parameter.add_(1)  # the first step copies
    host.backbone.load_state_dict(ours.backbone.state_dict())
    host.neck.load_state_dict(ours.neck.state_dict())
    for number in range(4):
        torch.manual_seed(number)
        inputs = views()
        for model in (ours, host):
            torch.manual_seed(7)
            model.loss(inputs, [])
            with torch.no_grad():
                for parameter in model.backbone.parameters():
                    parameter.mul_(1.5)
        mine, other = ours.encoder_k.state_dict(), host.encoder_k.state_dict()
        assert mine.keys() == other.keys()
        for name, tensor in mine.items():
            assert torch.equal(tensor, other[name]), name
        if number == 1:  # as a resume does
            ours.load_state_dict(copy.deepcopy(ours.state_dict()))


def test_a_loaded_count_of_steps_is_read_again():
    model = method()
    model.loss(views())
    fresh = method().state_dict()
    with torch.no_grad():
        for parameter in model.encoder_k.parameters():
            parameter.add_(1)
    model.load_state_dict(fresh)
    model.loss(views())
    assert int(model.encoder_k.steps) == 1
    key = model.encoder_k.module[0].linear.weight
    assert torch.equal(key, model.backbone.linear.weight)
