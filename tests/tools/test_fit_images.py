"""The tools fit a config to its images before a Runner is built."""

import torch
from mmengine.config import Config

from ahpcl.cli.runs import fit_images
from ahpcl.datasets import UnlabelledFolder
from odd_folders import ODD_FOLDERS


def test_numbers_are_those_of_the_checkpoint_or_of_the_images(tmp_path):
    root = tmp_path / 'cells'
    ODD_FOLDERS['twelve_bits'](root)
    data = dict(type='UnlabelledFolder', data_root=str(root))
    text = dict(
        train_dataloader=dict(dataset=data),
        val_dataloader=dict(dataset=dict(data)),
    )
    fresh, tested, begun = (Config(text) for _ in range(3))
    kept = dict(channels=3, range={'uint16': [0, 999]}, pages='first')
    torch.save({'ahpcl': {'pixels': kept}}, tmp_path / 'a.pth')
    torch.save({'state_dict': {}}, tmp_path / 'b.pth')
    fit = fit_images
    fit(fresh)
    fit(tested, str(tmp_path / 'a.pth'))
    fit(begun, str(tmp_path / 'b.pth'))  # of the usual images
    own = UnlabelledFolder(str(root)).pixels.as_dict()['range']
    for part in ('train_dataloader', 'val_dataloader'):
        assert fresh[part].dataset.range == own
        assert tested[part].dataset.range == kept['range']
        assert 'range' not in begun[part].dataset
