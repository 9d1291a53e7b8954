"""What is on trial for gate 2c, against obvious loops."""

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core import PrototypeHierarchy, PrototypeLevel
from tools_modules import tool_modules


@pytest.fixture(scope='module')
def ideas():
    names = ('_paths', '_oracle', '_ideas')
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


INDEX = torch.tensor([3, 9, 14, 22, 30, 41])


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
