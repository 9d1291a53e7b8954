"""Clusters without training: of features, and of frozen encoders."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import ahpcl
from ahpcl.core.metrics import count_kinds


def blobs(number=90, width=8, kinds=3):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(kinds, width)) * 5
    labels = np.arange(number) % kinds
    noise = rng.normal(size=(number, width)) * 0.3
    return (centres[labels] + noise).astype(np.float32), labels


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Thirty images: noise, flat and stripes."""
    rng = np.random.default_rng(1)
    root = tmp_path_factory.mktemp('photos')
    for place in range(30):
        pixels = np.full((40, 48, 3), 40 + 5 * place, np.uint8)
        if place % 3 == 1:
            pixels[::4] = 255
        if place % 3 == 2:
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{place:02d}.png')
    return root


def test_kinds_of_features_are_found_and_others_assigned():
    features, labels = blobs()
    found = ahpcl.cluster(torch.from_numpy(features), levels=[9, 3])
    own = found.labels(3)
    pairs = set(zip(own.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == 3
    assert found.labels().max() == 8 and found.num_clusters == (9, 3)
    parents = found.assignment.levels[0].parents
    np.testing.assert_array_equal(parents, own)
    again = found.assign(features[:5])
    np.testing.assert_array_equal(again.level(3).clusters, own[:5])
    assert [name[0] for name in again.nearest] == [
        f'row {place}' for place in range(5)
    ]
    assert ahpcl.cluster(features).num_clusters == (7, 2)


def test_kinds_are_counted_whatever_the_levels_are(tmp_path):
    features, _ = blobs(kinds=4)
    found = ahpcl.cluster(features, levels=[6, 2], seed=3)
    rows = torch.from_numpy(features)
    assert found.kinds == count_kinds(rows, seed=3)
    assert found.kinds.best.clusters == 4
    assert found.kinds is found.kinds  # counted once
    found.save(tmp_path)
    kept = json.loads((tmp_path / 'kinds.json').read_text())
    assert kept['number'] == found.kinds.number
    assert kept['reason'] == found.kinds.reason


@pytest.mark.parametrize(
    ('items', 'options', 'said'),
    [
        (np.array([[1.0, np.nan], [1, 2]]), {}, 'NaN or infinity in 1 of 2'),
        (np.ones((2, 3, 0))[0], {}, r'\(N, D\), got \(3, 0\)'),
        (np.ones(4), {}, r'\(N, D\), got \(4,\)'),
        (np.ones((1, 4)), {}, 'at least 2 images'),
        (np.ones((5, 4)), dict(encoder='timm:resnet18'), 'either features'),
        (np.ones((5, 4)), dict(names=['a']), '5 rows, got 1'),
        (np.zeros((2, 8, 8, 3), np.uint8), {}, 'got no encoder'),
        (
            np.zeros((2, 8, 8, 3), np.uint8),
            dict(encoder='timm:resnet18'),
            'nothing is downloaded',
        ),
    ],
)
def test_what_cannot_be_clustered_is_said(items, options, said):
    with pytest.raises(ValueError, match=said):
        ahpcl.cluster(items, **options)


def test_features_of_another_width_are_refused():
    features, _ = blobs(30)
    found = ahpcl.cluster(features, levels=[3])
    with pytest.raises(ValueError, match=r'width 8, as those .* got 5'):
        found.assign(np.ones((2, 5), np.float32))
    with pytest.raises(ValueError, match='give the images and encoder='):
        found.report('report.html')


def test_a_frozen_encoder_serves_as_a_run(folder, tmp_path):
    timm = pytest.importorskip('timm')
    torch.manual_seed(5)
    model = timm.create_model('resnet18', num_classes=0).eval()
    weights = tmp_path / 'r18.pth'
    torch.save(model.state_dict(), weights)
    found = ahpcl.cluster(
        folder,
        encoder='timm:resnet18',
        weights=weights,
        image_size=64,
        levels=[6, 3],
        device='cpu',
    )
    told = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(
        **{**told, 'input_size': (3, 64, 64)}, is_training=False
    )
    files = sorted(folder.iterdir())
    images = torch.stack([transform(Image.open(file)) for file in files])
    with torch.no_grad():
        expected = model(images).numpy()
    # Pillow resizes for both; torchvision's crop may differ by a pixel.
    cosine = (found.features * expected).sum(1) / (
        np.linalg.norm(found.features, axis=1)
        * np.linalg.norm(expected, axis=1)
    )
    assert cosine.min() > 0.999
    written = found.save(tmp_path / 'frozen')
    assert [path.name for path in written] == [
        'images.csv',
        'features.npz',
        'kinds.json',
        'encoder.safetensors',
        'encoder.safetensors.md',
        'report.html',
    ]
    page = (tmp_path / 'frozen' / 'report.html').read_text()
    assert 'K = 6' in page and 'timm_resnet18' in page
    assert 'How many kinds?' in page and 'Not determined: ' in page
    encoder = ahpcl.load(tmp_path / 'frozen', device='cpu')
    again = encoder.assign(folder, nearest=1)
    for level, own in zip(found.assignment.levels, again.levels, strict=True):
        np.testing.assert_array_equal(level.clusters, own.clusters)
    assert [own[0] for own in again.nearest] == [f.name for f in files]
    np.testing.assert_allclose(
        encoder.embed(folder), found.features, atol=1e-5
    )


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    timm = pytest.importorskip('timm')
    weights = tmp_path / 'other.pth'
    torch.save(timm.create_model('resnet10t').state_dict(), weights)
    with pytest.raises(ValueError, match=r'resnet18 of timm.*missing'):
        ahpcl.cluster(folder, encoder='timm:resnet18', weights=weights)
    with pytest.raises(ValueError, match='does not exist'):
        ahpcl.cluster(folder, encoder='timm:resnet18', weights='nowhere.pth')
    with pytest.raises(ValueError, match="'resnet_18'"):
        ahpcl.cluster(folder, encoder='timm:resnet_18', weights='random')


def test_the_encoder_of_a_run_clusters_others(toy_run, folder, tmp_path):
    found = ahpcl.cluster(
        folder, encoder=toy_run.work_dir, levels=[3], device='cpu'
    )
    found.save(tmp_path, report=False)
    again = ahpcl.load(tmp_path, device='cpu')
    np.testing.assert_array_equal(
        again.assign(folder).levels[0].clusters, found.labels(3)
    )
    assert again.num_clusters == (3,)
