"""Classes of images by folders and lists, and when there are none."""

from weakref import WeakKeyDictionary

import numpy as np
import pytest

import ahpcl.utils.said as said_lines
from ahpcl.datasets import UnlabelledFolder
from odd_folders import ODD_FOLDERS, save, scene


def labelled(root, **options):
    return UnlabelledFolder(str(root), labels_from_folders=True, **options)


def images(root, names):
    for seed, name in enumerate(names):
        save(root / name, scene(seed))


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        said_lines, 'print_log', lambda text, **_: lines.append(text)
    )
    monkeypatch.setattr(said_lines, '_said', WeakKeyDictionary())
    return lines


def test_tiny_imagenets_val_has_the_classes_of_its_list(tmp_path, said):
    ODD_FOLDERS['tiny_val'](tmp_path / 'val')
    dataset = labelled(tmp_path / 'val')
    assert dataset.metainfo['classes'] == ('n00', 'n01', 'n02')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [0, 1, 2, 0, 1, 2])
    *_, line = said
    assert 'val_annotations.txt' in line and 'n00 2' in line


def test_tiny_imagenets_train(tmp_path):
    images(tmp_path, [f'n0{c}/images/n0{c}_{i}.png' for c in (7, 2)
                      for i in range(2)])  # fmt: skip
    (tmp_path / 'n07' / 'n07_boxes.txt').write_text('n07_0.png\t1\t2\t3\t4\n')
    dataset = labelled(tmp_path)
    assert dataset.metainfo['classes'] == ('n02', 'n07')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [0, 0, 1, 1])


@pytest.mark.parametrize('place', ['val.txt', 'meta/val.txt', 'val/val.txt'])
def test_imagenets_flat_val_with_numbers(tmp_path, place):
    images(tmp_path / 'val', ['a.png', 'b.png', 'c.png'])
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text('c.png 0\nval/a.png 3\nb.png 10\n')
    dataset = labelled(tmp_path / 'val')
    # The numbers of the list stay, also those without an image here.
    np.testing.assert_array_equal(dataset.get_gt_labels(), [3, 10, 0])
    assert len(dataset.metainfo['classes']) == 11


def test_a_list_with_a_header_and_commas(tmp_path):
    images(tmp_path / 'photos', ['x 1.png', 'deep/y.png'])
    (tmp_path / 'photos.csv').write_text(
        '\ufefffile,kind\nx 1.png,red kite\ndeep/y.png,robin\n', 'utf-8'
    )
    dataset = labelled(tmp_path / 'photos')
    assert dataset.metainfo['classes'] == ('red kite', 'robin')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [1, 0])


def test_an_image_that_the_list_lacks_is_named(tmp_path):
    ODD_FOLDERS['tiny_val'](tmp_path)
    save(tmp_path / 'images' / 'extra.png', scene(9))
    with pytest.raises(ValueError, match=r'1 of 7, first .images/extra'):
        labelled(tmp_path)


@pytest.mark.parametrize(
    ('names', 'found'),
    [
        (['pictures/1.png', 'pictures/2.png'], 'pictures'),
        (['n01/images/1.png', 'n01/images/2.png'], 'n01'),
    ],
)
def test_one_class_is_refused_with_remedies_that_work(tmp_path, names, found):
    images(tmp_path / 'all', names)
    with pytest.raises(ValueError, match=found) as caught:
        labelled(tmp_path / 'all')
    listed = str(caught.value).partition("write a list '")[2].partition("'")[0]
    with open(listed, 'w') as file:
        file.write('1.png cat\n2.png dog\n')
    assert labelled(tmp_path / 'all').metainfo['classes'] == ('cat', 'dog')
    plain = UnlabelledFolder(str(tmp_path / 'all'))
    assert plain.get_gt_labels() is None


def test_class_folders_within_the_only_folder(tmp_path, said):
    images(tmp_path, ['images/yew/1.png', 'images/oak/2.png'])
    dataset = labelled(tmp_path)
    assert dataset.metainfo['classes'] == ('oak', 'yew')
    assert any("below 'images'" in line for line in said)


def test_parts_of_a_data_set_are_no_classes(tmp_path):
    ODD_FOLDERS['parts'](tmp_path)
    with pytest.raises(ValueError, match='train, val') as caught:
        labelled(tmp_path)
    root = str(caught.value).partition("data_root='")[2].partition("'")[0]
    assert labelled(root).metainfo['classes'] == ('ash', 'elm', 'fir')


def test_many_classes_are_listed_short(tmp_path, said):
    images(tmp_path, [f'kind{c:02d}/{c}.png' for c in range(30)])
    labelled(tmp_path)
    *_, line = said
    assert '30 classes' in line and 'kind00 1' in line
    assert 'and 24 more' in line and 'kind29' not in line


def test_a_knn_of_one_class_is_refused():
    import torch

    from ahpcl.evaluation.knn_metric import KNNMetric

    metric = KNNMetric(k=2)
    labels, query = torch.zeros(6), torch.arange(6) % 2 == 0
    with pytest.raises(ValueError, match='two classes'):
        metric.check(labels.long(), query)
    with pytest.raises(ValueError, match='two classes'):
        metric.measure(torch.eye(6), labels.long(), query)
