"""What the training loop looks at before the first step."""

import pytest

from toy import toy_config, train


def test_a_queue_longer_than_the_data_stops_the_run(tmp_path):
    config = toy_config(tmp_path)
    config.model.queue_len = 241
    with pytest.raises(ValueError, match=r'240.*got 241'):
        train(config)
    assert not list(tmp_path.glob('*.pth'))


def test_the_model_is_told_what_it_will_be_trained_on(tmp_path, monkeypatch):
    from ahpcl.models import AHPCL

    seen = {}
    monkeypatch.setattr(
        AHPCL, 'check_training', lambda self, **found: seen.update(found)
    )
    config = toy_config(tmp_path)
    config.train_cfg.max_epochs = 1
    train(config)
    assert seen == dict(
        num_images=240, batch_size=64, view_shapes=[(3, 16, 16)] * 2
    )
