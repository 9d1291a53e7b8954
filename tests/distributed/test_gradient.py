"""AHPCL's step on several ranks against one process with the whole batch."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from ranks import run_ranks

WORKER = Path(__file__).with_name('gradient_worker.py')


@pytest.fixture(scope='module', params=[2, 3, 4])
def ranks(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f'gradient{request.param}')
    run_ranks(WORKER, folder, ranks=request.param)
    return [torch.load(folder / f'rank_{r}.pt') for r in range(request.param)]


@pytest.fixture(scope='module')
def alone():
    spec = spec_from_file_location('gradient_worker', WORKER)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.step


@pytest.mark.parametrize('norm', ['fixed', 'split'])
def test_a_step_is_that_of_one_process(ranks, alone, norm):
    whole = alone(norm, len(ranks) if norm == 'split' else 1)
    assert any(g.abs().max() > 1e-3 for g in whole['gradients'])
    for rank in ranks:
        seen = rank[norm]
        assert seen['values'].keys() == whole['values'].keys()
        for name, value in whole['values'].items():
            torch.testing.assert_close(seen['values'][name], value)
        for mine, all_of_it in zip(
            seen['gradients'], whole['gradients'], strict=True
        ):
            torch.testing.assert_close(mine, all_of_it, atol=1e-7, rtol=1e-5)
        torch.testing.assert_close(seen['queue'], whole['queue'])
