"""What every test starts from."""

import os

import pytest
import torch
from mmengine.registry import init_default_scope

import ahpcl  # noqa: F401  (mends the host, registers the components)

# Threads of several processes that spin on the same cores cost more than they
# bring at this size.
torch.set_num_threads(1)
os.environ.setdefault('OMP_NUM_THREADS', '1')


@pytest.fixture(autouse=True)
def _scope_and_seed():
    init_default_scope('mmselfsup')
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope='session')
def _configs_as_they_are():
    """Most of the time of a short run goes into formatting its config."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'mmengine.config.config.FormatCode',
            lambda text, **_: (text, True),
        )
        yield
