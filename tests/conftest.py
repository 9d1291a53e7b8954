"""What every test starts from."""

import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import ahpcl  # noqa: F401  (patches mmselfsup, registers the components)
from image_files import make_image, make_mini, tin100_archive  # noqa: F401
from toy import toy_config

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


@pytest.fixture(autouse=True, scope='session')
def _no_collections_for_data_sets():
    """mmengine collects all garbage of the process for every data set.

    With what torch brings along that takes longer than the rest of a run on
    a few images. Python still collects by itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'mmengine.dataset.base_dataset.gc',
            SimpleNamespace(collect=lambda: 0),
        )
        yield


@pytest.fixture(autouse=True, scope='session')
def cache_home(tmp_path_factory):
    """The package's cache folder, which is the user's own otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp('cache_home')
        patch.setenv('AHPCL_CACHE', str(home))
        yield home


@pytest.fixture(scope='session')
def toy_run(tmp_path_factory):
    """A finished run on the digits: work_dir, config (a file), checkpoint.

    Read it; what writes into its folder takes a copy.
    """
    work_dir = tmp_path_factory.mktemp('toy_run')
    init_default_scope('mmselfsup')
    Runner.from_cfg(toy_config(work_dir)).train()
    return SimpleNamespace(
        work_dir=work_dir,
        config=work_dir / 'ahpcl_prototypes.py',
        checkpoint=work_dir / 'epoch_6.pth',
    )
