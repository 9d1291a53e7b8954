"""Prototypes as arrays."""

import importlib
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

from ahpcl.core.clustering.hierarchy import build_hierarchy
from official_checkpoints import Momentum, Swav, write_official
from toy import ROOT, toy_config, train

TOOLS = ROOT / 'tools' / 'model_converters'


@pytest.fixture
def export(monkeypatch, tmp_path):
    """Run the tool in this process; answers the arrays it wrote."""
    monkeypatch.syspath_prepend(str(TOOLS))

    def call(source, *args):
        out = tmp_path / 'deep' / 'out.npz'
        tool = importlib.import_module('export_prototypes')
        assert tool.main([str(a) for a in (source, out, *args)]) == 0
        with np.load(out, allow_pickle=False) as file:
            return dict(file)

    yield call
    for path in TOOLS.glob('*.py'):
        sys.modules.pop(path.stem, None)


def test_every_level_of_a_nested_hierarchy(export, tmp_path):
    points = torch.nn.functional.normalize(torch.randn(60, 5), dim=1)
    hierarchy = build_hierarchy(points, [12, 6, 3], linkage='agglomerative')
    source = tmp_path / 'epoch_9.pth'
    torch.save({'ahpcl': {'hierarchy': hierarchy.state_dict()}}, source)
    arrays = export(source)
    assert arrays['source'] == 'ahpcl'
    assert arrays['num_clusters'].tolist() == [12, 6, 3]
    for index, level in enumerate(hierarchy.levels):
        for name in ('centroids', 'assignments', 'concentration'):
            given = arrays[f'level{index}_{name}']
            assert np.array_equal(given, getattr(level, name).numpy())
        counted = [
            sum(int(a) == cluster for a in level.assignments)
            for cluster in range(level.num_clusters)
        ]
        assert arrays[f'level{index}_counts'].tolist() == counted
    for fine, coarse in ((0, 1), (1, 2)):
        led = arrays[f'level{fine}_parents'][
            arrays[f'level{fine}_assignments']
        ]
        assert np.array_equal(led, arrays[f'level{coarse}_assignments'])
    assert 'level2_parents' not in arrays


def test_a_run_with_the_names_of_its_images(export, tmp_path):
    config = toy_config(tmp_path / 'run')
    config.train_cfg.max_epochs = 2
    config.train_cfg.val_interval = 2
    runner = train(config)
    path = tmp_path / 'run.py'
    config.dump(path)
    arrays = export(tmp_path / 'run' / 'epoch_2.pth', '--config', path)
    assert arrays['num_clusters'].tolist() == [40, 20]
    dataset = runner.train_dataloader.dataset
    expected = [dataset.get_data_info(i)['img_path'] for i in range(240)]
    assert arrays['img_path'].tolist() == expected
    assert len(set(expected)) == 240
    assert arrays['img_name'].tolist() == expected
    # Those that are gone have no file.
    other = Config(config.to_dict())
    other.train_dataloader.dataset.limit = 100
    other.dump(path)
    arrays = export(tmp_path / 'run' / 'epoch_2.pth', '--config', path)
    found = arrays['img_path'].tolist()
    kept = [one for one in found if one]
    assert len(kept) == 100
    assert all(
        one in ('', name) for one, name in zip(found, expected, strict=True)
    )
    # Not the images of another run.
    other.train_dataloader.dataset.split = 'test'
    other.dump(path)
    with pytest.raises(SystemExit, match=r'240 images.*got 100'):
        export(tmp_path / 'run' / 'epoch_2.pth', '--config', path)
    with pytest.raises(SystemExit, match=r'without: those are AHPCL'):
        export(tmp_path / 'run' / 'epoch_1.pth')  # the warm-up


@pytest.mark.parametrize('numbers', [12, [8, 12]])
def test_swavs_prototypes(export, tmp_path, numbers):
    model = Swav(18, numbers)
    arrays = export(write_official(tmp_path / 'swav.pth.tar', model))
    assert arrays['source'] == 'swav'
    weights = [p.detach().numpy() for p in model.prototypes.parameters()]
    weights = weights[::-1]  # finest first
    assert arrays['num_clusters'].tolist() == [len(w) for w in weights]
    for index, weight in enumerate(weights):
        assert np.array_equal(arrays[f'level{index}_centroids'], weight)
    # Under the names of this ecosystem, too.
    source = tmp_path / 'ours.pth'
    named = {
        f'head.loss.prototypes.{name}': value
        for name, value in model.prototypes.state_dict().items()
    }
    torch.save({'state_dict': named}, source)
    again = export(source)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_odcs_memories(export, tmp_path):
    state = {
        'memory_bank.centroids': torch.randn(4, 3),
        'memory_bank.feature_bank': torch.randn(6, 3),
        'memory_bank.label_bank': torch.tensor([3, 0, 0, 1, 3, 3]),
        'memory_bank.initialised': torch.tensor(True),
    }
    source = tmp_path / 'odc.pth'
    torch.save({'state_dict': state}, source)
    arrays = export(source)
    assert arrays['source'] == 'odc'
    assert np.array_equal(
        arrays['level0_centroids'], state['memory_bank.centroids']
    )
    assert arrays['level0_assignments'].tolist() == [3, 0, 0, 1, 3, 3]
    assert arrays['level0_counts'].tolist() == [2, 1, 0, 3]
    state['memory_bank.initialised'] = torch.tensor(False)
    torch.save({'state_dict': state}, source)
    with pytest.raises(SystemExit, match='still empty'):
        export(source)


def test_deepclusters_labels(export, tmp_path):
    source = tmp_path / 'deepcluster.pth'
    labels = torch.tensor([2, 0, 2, 2], dtype=torch.int32)
    state = {'head.fc_cls.weight': torch.randn(5, 3)}
    kept = {'pseudo_labels': labels}
    torch.save({'state_dict': state, 'ahpcl': kept}, source)
    arrays = export(source)
    assert arrays['source'] == 'pseudo_labels'
    assert arrays['num_clusters'].tolist() == [5]
    assert arrays['level0_assignments'].tolist() == [2, 0, 2, 2]
    assert arrays['level0_counts'].tolist() == [1, 0, 3, 0, 0]
    assert 'level0_centroids' not in arrays


def test_checkpoints_without_prototypes_say_so(export, tmp_path):
    source = write_official(tmp_path / 'pcl.pth.tar', Momentum(18))
    with pytest.raises(SystemExit, match='official PCL, HCSC and MoCo'):
        export(source)
