import io
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core.clustering.prototypes import PrototypeHierarchy, PrototypeLevel


def make_level(num_clusters=3, assignments=(0, 2, 2, 1), parents=None):
    generator = torch.Generator().manual_seed(num_clusters)
    return PrototypeLevel(
        centroids=F.normalize(
            torch.randn(num_clusters, 5, generator=generator), dim=1
        ),
        assignments=torch.tensor(assignments),
        concentration=torch.full((num_clusters,), 0.2),
        parents=None if parents is None else torch.tensor(parents),
        objective=0.25,
        num_repaired=1,
    )


def make_hierarchy():
    return PrototypeHierarchy(
        [
            make_level(3, (0, 2, 2, 1), parents=(1, 0, 1)),
            make_level(2, (1, 1, 1, 0)),
        ]
    )


def test_sizes_count_images_and_empty_clusters():
    level = make_level(4, (0, 2, 2, 0))
    assert level.num_clusters == 4
    assert level.sizes().tolist() == [2, 0, 2, 0]


def test_level_is_frozen():
    with pytest.raises(FrozenInstanceError):
        make_level().objective = 1.0
    with pytest.raises(AttributeError, match='immutable'):
        make_hierarchy().levels = ()


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('centroids', torch.ones(3), 'shape'),
        ('centroids', torch.ones(3, 5), 'unit centroids'),
        ('centroids', torch.full((3, 5), torch.nan), 'unit centroids'),
        ('centroids', torch.ones(3, 1, dtype=torch.long), 'floating'),
        ('centroids', torch.eye(5)[:3] * 1.002, 'unit centroids'),
        ('assignments', torch.tensor([0, 3, 1, 1]), 'from 0 to 2'),
        ('assignments', torch.tensor([0, -1, 1, 1]), 'from 0 to 2'),
        ('assignments', torch.tensor([0.0, 1.0]), 'int64'),
        ('assignments', torch.tensor([], dtype=torch.long), 'empty'),
        ('concentration', torch.ones(2), 'concentration'),
        ('concentration', torch.tensor([0.1, 0.0, 0.1]), 'above 0'),
        ('concentration', torch.tensor([0.1, torch.nan, 0.1]), 'finite'),
        ('concentration', torch.tensor([0.1, torch.inf, 0.1]), 'finite'),
        ('parents', torch.tensor([0, 1]), 'one parent'),
        ('parents', torch.tensor([0, -1, 1]), 'parents'),
        ('num_repaired', -1, 'num_repaired'),
    ],
)
def test_level_refuses(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(make_level(), **{field: value})


def test_level_accepts_nearly_unit_rows():
    level = replace(make_level(), centroids=torch.eye(5)[:3] * 1.0009)
    assert level.num_clusters == 3


def test_hierarchy_is_a_sequence_of_levels():
    hierarchy = make_hierarchy()
    assert hierarchy.num_clusters == (3, 2)
    assert len(hierarchy) == 2
    assert [level.num_clusters for level in hierarchy] == [3, 2]
    assert hierarchy.level(2) is hierarchy[1]
    with pytest.raises(ValueError, match=r'\(3, 2\), got 7'):
        hierarchy.level(7)


def test_hierarchy_refuses_what_does_not_fit():
    fine, coarse = make_hierarchy().levels
    with pytest.raises(ValueError, match='at least one level'):
        PrototypeHierarchy([])
    with pytest.raises(ValueError, match='finest first'):
        PrototypeHierarchy([coarse, replace(fine, parents=None)])
    with pytest.raises(ValueError, match='same number of images'):
        PrototypeHierarchy([fine, make_level(2, (1, 1, 1))])
    with pytest.raises(ValueError, match='same dimension'):
        PrototypeHierarchy([fine, replace(coarse, centroids=torch.eye(2))])
    with pytest.raises(ValueError, match='coarsest level'):
        PrototypeHierarchy([fine])
    with pytest.raises(ValueError, match='from 0 to 1'):
        PrototypeHierarchy(
            [replace(fine, parents=torch.tensor([1, 0, 2])), coarse]
        )


def test_parents_must_hold_for_every_image():
    fine, coarse = make_hierarchy().levels
    moved = coarse.assignments.clone()
    moved[2] = 0
    with pytest.raises(ValueError, match=r'1 images of 4.*image 2 first'):
        PrototypeHierarchy([fine, replace(coarse, assignments=moved)])


def test_state_survives_a_checkpoint_that_loads_weights_only():
    hierarchy = make_hierarchy()
    file = io.BytesIO()
    torch.save({'ahpcl': hierarchy.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)['ahpcl']
    loaded = PrototypeHierarchy.from_state_dict(state)
    assert loaded.num_clusters == (3, 2)
    for before, after in zip(hierarchy, loaded, strict=True):
        assert torch.equal(before.centroids, after.centroids)
        assert torch.equal(before.assignments, after.assignments)
        assert torch.equal(before.concentration, after.concentration)
        assert (before.objective, before.num_repaired) == (
            after.objective,
            after.num_repaired,
        )
    assert torch.equal(loaded[0].parents, hierarchy[0].parents)
    assert loaded[1].parents is None


def test_state_with_a_missing_or_unknown_key_is_refused():
    state = make_level().state_dict()
    del state['parents']
    with pytest.raises(ValueError, match='expected the keys'):
        PrototypeLevel.from_state_dict(state)
    with pytest.raises(ValueError, match="'levels' alone"):
        PrototypeHierarchy.from_state_dict({})


def test_to_keeps_everything():
    moved = make_hierarchy().to('cpu')
    assert moved.num_clusters == (3, 2)
    assert moved[0].objective == 0.25
    here = make_hierarchy()
    assert all(
        mine is theirs
        for mine, theirs in zip(here, here.with_indices_on_cpu(), strict=True)
    )
    meta = make_level().to('cpu')
    assert meta.centroids.device.type == 'cpu'


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_to_cuda():
    moved = make_hierarchy().to('cuda')
    assert moved[0].centroids.is_cuda
    assert moved[0].parents.is_cuda
    assert moved[1].sizes().tolist() == [1, 3]
    mixed = moved.with_indices_on_cpu()
    assert mixed[0].centroids.is_cuda and mixed[0].concentration.is_cuda
    assert not mixed[0].assignments.is_cuda and not mixed[0].parents.is_cuda
    assert mixed.to('cuda:0')[0].parents.is_cuda
