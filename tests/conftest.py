"""What every test starts from."""

import pytest
import torch
from mmengine.registry import init_default_scope

import ahpcl  # noqa: F401  (mends the host, registers the components)


@pytest.fixture(autouse=True)
def _scope_and_seed():
    init_default_scope('mmselfsup')
    torch.manual_seed(0)
