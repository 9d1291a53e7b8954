"""SimCLR: NT-Xent and its gradient against loops from the paper.

Several ranks are compared with one in ``tests/distributed``.
"""

import math

import pytest
import torch

from small_encoders import CONTRAST, build


def loop_nt_xent(first, second, temperature):
    """Equation 1 and algorithm 1, one pair after the other.

    Args:
        first: N rows of view 1 as lists.
        second: N rows of view 2.
    """

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.hypot(*a) / math.hypot(*b)

    rows = [r for pair in zip(first, second, strict=True) for r in pair]

    def pair_loss(i, j):
        scores = [
            math.exp(cosine(rows[i], rows[k]) / temperature)
            for k in range(len(rows))
            if k != i
        ]
        return -math.log(
            math.exp(cosine(rows[i], rows[j]) / temperature) / sum(scores)
        )

    number = len(first)
    return sum(
        pair_loss(2 * k, 2 * k + 1) + pair_loss(2 * k + 1, 2 * k)
        for k in range(number)
    ) / (2 * number)


def rows_of(model, images):
    return model.neck(model.backbone(images))[0]


@pytest.mark.parametrize('kind', ['SimCLRBaseline', 'mmselfsup.SimCLR'])
@pytest.mark.parametrize('temperature', [0.1, 0.5])
def test_the_loss_is_that_of_the_loop(kind, temperature):
    model = build(kind, head={**CONTRAST, 'temperature': temperature})
    views = [torch.randn(5, 3, 2, 2) for _ in range(2)]
    expected = loop_nt_xent(
        *(rows_of(model, view).tolist() for view in views), temperature
    )
    results = model.loss(views, [])
    (loss,) = (v for k, v in results.items() if 'loss' in k)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_differences():
    model = build('SimCLRBaseline', head=CONTRAST).double()
    views = [torch.randn(4, 3, 2, 2).double() for _ in range(2)]

    def loss():
        with torch.no_grad():
            rows = [rows_of(model, view).tolist() for view in views]
        return loop_nt_xent(*rows, 0.2)

    model.loss(views)['loss_inst'].backward()
    for parameter in model.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for place in range(0, len(flat), 7):
            value = flat[place].item()
            flat[place] = value + 1e-5
            above = loss()
            flat[place] = value - 1e-5
            below = loss()
            flat[place] = value
            # The model's features and loss are float32.
            assert gradient[place].item() == pytest.approx(
                (above - below) / 2e-5, rel=1e-3, abs=1e-5
            )


def test_weights_after_a_step_are_those_of_the_plain_loss():
    """The loss written over all pairs with torch, and one step of SGD."""
    model = build('SimCLRBaseline', head=CONTRAST)
    twin = build('SimCLRBaseline', head=CONTRAST)
    twin.load_state_dict(model.state_dict())
    views = [torch.randn(6, 3, 2, 2) for _ in range(2)]
    optimizers = [
        torch.optim.SGD(m.parameters(), lr=0.5) for m in (model, twin)
    ]
    model.loss(views)['loss_inst'].backward()
    first, second = (
        torch.nn.functional.normalize(rows_of(twin, view)) for view in views
    )
    loss = 0.0
    for own, other in ((first, second), (second, first)):
        for k in range(6):
            rest = [own[i] for i in range(6) if i != k] + list(other)
            scores = torch.stack([own[k] @ row for row in rest]) / 0.2
            positive = own[k] @ other[k] / 0.2
            loss = loss + scores.logsumexp(0) - positive
    (loss / 12).backward()
    for optimizer in optimizers:
        optimizer.step()
    for ours, theirs in zip(
        model.parameters(), twin.parameters(), strict=True
    ):
        torch.testing.assert_close(ours.grad, theirs.grad)
        torch.testing.assert_close(ours, theirs)


def test_the_accuracy_is_the_share_of_nearest_partners():
    model = build('SimCLRBaseline', head=CONTRAST)
    image = torch.randn(6, 3, 2, 2)
    views = [image, image + 0.3 * torch.randn(6, 3, 2, 2)]
    rows = torch.stack([rows_of(model, v) for v in views], 1).flatten(0, 1)
    rows = torch.nn.functional.normalize(rows)
    hits = 0
    for i in range(12):
        others = {j: (rows[i] @ rows[j]).item() for j in range(12) if j != i}
        hits += max(others, key=others.get) == (i ^ 1)
    assert 0 < hits < 12
    accuracy = model.loss(views)['acc_inst'].item()
    assert accuracy == pytest.approx(100 * hits / 12, rel=1e-5)
