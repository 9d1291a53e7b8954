import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from mmengine.visualization import LocalVisBackend, Visualizer
from PIL import Image

from ahpcl.visualization.save import log_figures, render, save_figure
from ahpcl.visualization.sizes import sizes_figure


@pytest.fixture
def figure():
    return sizes_figure([torch.tensor([3, 4, 9])], source='epoch_1.pth')


def test_both_files_are_valid(figure, tmp_path):
    settings = dict(rcParams)
    png, svg = save_figure(figure, tmp_path / 'new' / 'sizes.of.levels')
    assert (png.name, svg.name) == (
        *('sizes.of.levels.png', 'sizes.of.levels.svg'),
    )
    with Image.open(png) as image:
        image.load()
        pixels = np.asarray(image.convert('RGB'))
    width, height = figure.get_size_inches() * figure.dpi
    assert pixels.shape == (int(height), int(width), 3)
    assert pixels.min() < 80  # something is drawn
    root = ElementTree.parse(svg).getroot()
    assert root.tag == '{http://www.w3.org/2000/svg}svg'
    assert float(root.get('width').removesuffix('pt')) == pytest.approx(
        72 * figure.get_size_inches()[0], abs=1
    )
    assert sorted(p.name for p in png.parent.iterdir()) == (
        # The new folder is marked as none of the data's.
        ['.ahpcl', png.name, svg.name]
    )
    assert dict(rcParams) == settings


def test_equal_figures_give_equal_files(figure, tmp_path):
    one = save_figure(figure, tmp_path / 'one')
    again = sizes_figure([torch.tensor([3, 4, 9])], source='epoch_1.pth')
    two = save_figure(again, tmp_path / 'two')
    for a, b in zip(one, two, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_a_file_is_whole_or_not_there(figure, tmp_path):
    stem = tmp_path / 'sizes'
    save_figure(figure, stem)
    before = (tmp_path / 'sizes.png').read_bytes()
    figure.axes[0].set_title('$ \\broken {$')  # fails while it is drawn
    with pytest.raises(ValueError, match='broken'):
        save_figure(figure, stem)
    assert (tmp_path / 'sizes.png').read_bytes() == before
    assert len(list(tmp_path.glob('sizes*'))) == 2
    assert not [p for p in tmp_path.iterdir() if p.suffix == '.tmp']


def test_a_visualizer_gets_the_pixels(figure, tmp_path):
    visualizer = Visualizer.get_instance(
        f'figures_{tmp_path.name}',
        vis_backends=[dict(type='LocalVisBackend')],
        save_dir=str(tmp_path),
    )
    log_figures(visualizer, {'sizes': figure}, 7)
    (file,) = tmp_path.rglob('sizes_7.png')
    with Image.open(file) as image:
        assert np.array_equal(np.asarray(image), render(figure))
    assert isinstance(
        visualizer.get_backend('LocalVisBackend'), (LocalVisBackend)
    )


def test_tensorboard_gets_the_pixels(figure, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing import event_accumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        log_figures(writer, {'sizes': figure}, 3)
    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Images('sizes')
    assert event.step == 3
    assert (event.height, event.width) == render(figure).shape[:2]


def test_what_takes_no_images(figure):
    with pytest.raises(ValueError, match=r'Visualizer.*got dict'):
        log_figures({}, {'sizes': figure}, 0)
