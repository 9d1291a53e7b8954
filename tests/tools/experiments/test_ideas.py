"""What is on trial for gate 2c, against obvious loops."""

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core import PrototypeHierarchy, PrototypeLevel, proto_nce
from ahpcl.engine import ClusterRequest
from tools_modules import tool_modules


@pytest.fixture(scope='module')
def ideas():
    names = ('_paths', '_oracle', '_structure', '_ideas')
    with tool_modules('experiments', *names) as modules:
        yield modules['_ideas']


@pytest.fixture
def level():
    generator = torch.manual_seed(0)
    return PrototypeLevel(
        F.normalize(torch.randn(20, 8, generator=generator), dim=1),
        torch.randint(20, (50,), generator=generator),
        torch.rand(20, generator=generator) + 0.1,
    )


@pytest.fixture
def query():
    generator = torch.manual_seed(1)
    return F.normalize(torch.randn(6, 8, generator=generator), dim=1)


INDEX = torch.tensor([3, 9, 14, 22, 30, 41])


def test_nothing_left_out_is_the_prototype_loss(ideas, level, query):
    loss, accuracy = ideas.TrialProtoLoss()(query, level, INDEX, 0.1)
    wanted = proto_nce(query, level, INDEX, label_smoothing=0.1)
    torch.testing.assert_close((loss, accuracy), wanted)


def test_without_negatives_a_query_is_drawn_to_its_prototype(
    ideas, level, query
):
    loss, _ = ideas.TrialProtoLoss(negatives=False)(query, level, INDEX)
    distances = [
        float((q - level.centroids[level.assignments[i]]).square().sum())
        for q, i in zip(query, INDEX, strict=True)
    ]
    assert float(loss) == pytest.approx(sum(distances) / len(distances))


def test_only_the_core_counts(ideas):
    generator = torch.manual_seed(2)
    features = F.normalize(torch.randn(200, 8, generator=generator), dim=1)
    clusters = ideas.CoreClustering(share=0.25, n_init=1)
    request = ClusterRequest((7,), 'independent', temperature=0.2, seed=3)
    (level,) = clusters(features, request).levels
    distances = [
        float((x - level.centroids[c]).norm())
        for x, c in zip(features, level.assignments, strict=True)
    ]
    core = sorted(range(200), key=distances.__getitem__)[:50]
    rest = sorted(set(range(200)) - set(core))
    index = torch.tensor(core[:3] + rest[:3])
    trial = ideas.TrialProtoLoss(core=True)
    loss, _ = trial(features[index], level, index)
    wanted, _ = proto_nce(features[index[:3]], level, index[:3])
    torch.testing.assert_close(loss, wanted)
    nothing, _ = trial(features[rest[:3]], level, torch.tensor(rest[:3]))
    assert float(nothing) == 0


def test_an_image_counts_as_its_neighbours_are_of_its_cluster(ideas):
    generator = torch.manual_seed(4)
    features = F.normalize(torch.randn(60, 8, generator=generator), dim=1)
    clusters = ideas.NeighbourTrust(neighbours=5, n_init=1)
    request = ClusterRequest((4,), 'independent', temperature=0.2, seed=3)
    (level,) = clusters(features, request).levels
    shares = []
    for i in range(60):
        order = sorted(
            (j for j in range(60) if j != i),
            key=lambda j: -float(features[i] @ features[j]),
        )
        own = level.assignments[i]
        shares.append(sum(level.assignments[j] == own for j in order[:5]) / 5)
    weights = torch.tensor(shares)[INDEX]
    losses = [
        float(proto_nce(features[[i]], level, torch.tensor([i]))[0])
        for i in INDEX.tolist()
    ]
    # The weights are scaled to a mean of 1 over all images.
    trial = ideas.TrialProtoLoss(core=True)
    loss, _ = trial(features[INDEX], level, INDEX)
    wanted = (weights * torch.tensor(losses)).sum() / weights.sum()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)
    assert float(weights.std()) > 0.05


def test_a_level_counts_as_far_as_it_is_found_again(ideas):
    from sklearn.metrics import adjusted_mutual_info_score

    from ahpcl.core import KMeansSettings, spherical_kmeans

    generator = torch.manual_seed(5)
    features = F.normalize(torch.randn(120, 8, generator=generator), dim=1)
    clusters = ideas.LevelTrust(low=0.1, high=0.9, most=3.0, n_init=1)
    request = ClusterRequest((6,), 'independent', temperature=0.2, seed=3)
    (level,) = clusters(features, request).levels
    again = spherical_kmeans(features, 6, KMeansSettings(n_init=1), seed=4)
    agreement = adjusted_mutual_info_score(
        level.assignments.numpy(), again.assignments.numpy()
    )
    assert 0.1 < agreement < 0.9  # so that the weight is between
    weight = 3 * (agreement - 0.1) / 0.8
    loss, _ = ideas.TrialProtoLoss(trust=True)(features[INDEX], level, INDEX)
    plain, _ = proto_nce(features[INDEX], level, INDEX)
    assert float(loss) == pytest.approx(weight * float(plain), rel=1e-4)
    for low, high, wanted in ((0.95, 1.0, 0.0), (-0.2, 0.0, 3.0)):
        ideas.LevelTrust(low=low, high=high, most=3.0, n_init=1)(
            features, request
        )
        assert ideas._TRUST[6] == wanted


def test_a_query_learns_the_posterior_of_its_image(ideas):
    generator = torch.manual_seed(6)
    features = F.normalize(torch.randn(60, 8, generator=generator), dim=1)
    request = ClusterRequest((5,), 'independent', temperature=0.2, seed=3)
    (level,) = ideas.PosteriorClustering(n_init=1)(features, request).levels
    views = F.normalize(
        features[INDEX] + torch.randn(6, 8, generator=generator), dim=1
    )
    trial = ideas.TrialProtoLoss(posterior=0.5)
    loss, accuracy = trial(views, level, INDEX, 0.1)
    losses = []
    for view, image in zip(views, INDEX, strict=True):
        pairs = list(zip(level.centroids, level.concentration, strict=True))
        known = torch.stack([features[image] @ c / (p / 2) for c, p in pairs])
        told = torch.stack([view @ c / p for c, p in pairs])
        share = known.exp() / known.exp().sum()
        losses.append(-(share * (told - told.exp().sum().log())).sum())
    assert float(loss) == pytest.approx(float(sum(losses)) / 6, rel=1e-5)
    _, plain = proto_nce(views, level, INDEX)
    assert float(accuracy) == float(plain)
    # So sharp that the nearest prototype alone is left.
    sharp, _ = ideas.TrialProtoLoss(posterior=1e-4)(views, level, INDEX)
    phi = level.concentration
    nearest = (features[INDEX] @ level.centroids.t() / phi).argmax(1)
    wanted = F.cross_entropy(views @ level.centroids.t() / phi, nearest)
    assert float(sharp) == pytest.approx(float(wanted), rel=1e-4)
    with pytest.raises(ValueError, match='positive posterior'):
        ideas.TrialProtoLoss(posterior=1.0, negatives=False)


def test_weights_of_another_process_are_missed(ideas, level, query):
    ideas._WEIGHTS.clear()
    with pytest.raises(ValueError, match='cannot be resumed: delete'):
        ideas.TrialProtoLoss(core=True)(query, level, INDEX)


def test_the_nearest_prototypes_are_no_negatives(ideas, level):
    selection = ideas.FarNegatives(share=0.2)
    (mask,) = selection.prototype_masks(
        PrototypeHierarchy([level]), INDEX, None
    )
    for row, image in zip(mask, INDEX, strict=True):
        own = level.centroids[level.assignments[image]]
        order = sorted(
            range(20), key=lambda k: -float(own @ level.centroids[k])
        )
        assert sorted((~row).nonzero().flatten().tolist()) == sorted(order[:4])


def test_a_prediction_is_compared_with_the_key(ideas, query):
    loss = ideas.PredictionLoss(dim=8, hidden=16).eval()
    keys = query.flip(0)
    queue = F.normalize(
        torch.randn(8, 5, generator=torch.manual_seed(3)), dim=0
    )
    value, accuracy = loss(query, keys, queue)
    squares, hits = [], []
    for row, key in zip(loss.predictor(query), keys, strict=True):
        predicted = row / row.norm()
        squares.append(float((predicted - key).square().sum()))
        hits.append(
            all(predicted @ key > predicted @ other for other in queue.t())
        )
    assert float(value) == pytest.approx(sum(squares) / 6)
    assert float(accuracy) == pytest.approx(100 * sum(hits) / 6)
    value.backward()
    assert all(p.grad is not None for p in loss.parameters())
