"""Classification of clusters against a loop."""

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core.contrast.classifier_loss import classify_clusters


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_loss_accuracy_and_gradient_equal_a_loop(smoothing):
    generator = torch.Generator().manual_seed(0)
    query = F.normalize(torch.randn(6, 4, generator=generator), dim=1)
    weights = 3 * torch.randn(5, 4, generator=generator).double()
    target = torch.tensor([4, 0, 2, 2, 1, 3])
    query = query.double().requires_grad_()
    found, accuracy = classify_clusters(
        query,
        weights,
        target,
        temperature=0.5,
        label_smoothing=smoothing,
    )
    losses, hits = [], 0
    for row, own in zip(query, target, strict=True):
        scores = torch.stack([row @ (w / w.norm()) / 0.5 for w in weights])
        logs = scores - torch.logsumexp(scores, 0)
        share = torch.full((5,), smoothing / 5, dtype=torch.double)
        share[own] += 1 - smoothing
        losses.append(-(share * logs).sum())
        hits += int(scores.argmax()) == int(own)
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    assert accuracy == pytest.approx(100 * hits / 6)
    torch.testing.assert_close(
        *(torch.autograd.grad(x, query)[0] for x in (found, expected))
    )


def test_equal_scores_count_as_wrong():
    weights = torch.ones(3, 4)
    target = torch.tensor([0, 1])
    _, accuracy = classify_clusters(torch.eye(4)[:2], weights, target)
    assert accuracy == 0


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(weights=torch.ones(3, 5)), r'\(K, 4\)'),
        (dict(temperature=0.0), 'temperature above 0'),
        (dict(query=torch.ones(4)), 'query'),
    ],
)
def test_bad_input_is_refused(change, message):
    given = dict(
        query=torch.eye(4), weights=torch.eye(4), target=torch.arange(4)
    )
    with pytest.raises(ValueError, match=message):
        classify_clusters(**{**given, **change})
