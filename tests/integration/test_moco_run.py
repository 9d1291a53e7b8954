"""Runs of AHPCL without its hook, which is MoCo v2."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from toy import toy_config


class KeyProbe(Hook):
    """Looks at the key encoder before the first step of a run."""

    priority = 'LOWEST'

    def before_train_epoch(self, runner):
        if not hasattr(self, 'keys'):
            model = runner.model
            self.keys = [p.clone() for p in model.encoder_k.parameters()]
            queries = [*model.backbone.parameters(), *model.neck.parameters()]
            self.queries = [p.detach().clone() for p in queries]

    def equal(self):
        return all(map(torch.equal, self.keys, self.queries))


def run(config):
    runner, probe = Runner.from_cfg(config), KeyProbe()
    runner.register_hook(probe)
    runner.train()
    return runner.model, probe


def config(work_dir, epochs):
    found = toy_config(work_dir)
    found.custom_hooks = []
    found.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    return found


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('moco')
    return run(config(folder, 2))[0], folder


@pytest.mark.parametrize('parts', [('backbone.',), ('',)], ids=str)
def test_a_run_from_other_weights_starts_with_equal_encoders(
    trained, tmp_path, parts
):
    """Of a backbone alone, and of all that a method has."""
    model, _ = trained
    state = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(parts)
    }
    torch.save(dict(state_dict=state), tmp_path / 'start.pth')
    settings = config(tmp_path, 1)
    settings.load_from = str(tmp_path / 'start.pth')
    _, probe = run(settings)
    assert torch.equal(probe.queries[0], next(model.backbone.parameters()))
    assert probe.equal()


def test_a_resumed_run_keeps_its_key_encoder(trained, tmp_path):
    model, folder = trained
    settings = config(tmp_path, 2)
    settings.resume = True
    settings.load_from = str(folder / 'epoch_1.pth')
    resumed, probe = run(settings)
    assert not probe.equal()
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
