"""A checkpoint and its images, on a short run on the digits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image

from ahpcl.datasets import UnlabelledFolder
from ahpcl.evaluation import run_data
from ahpcl.evaluation.feature_set import FeatureSet
from ahpcl.evaluation.images import encode_image, load_image, shown
from ahpcl.evaluation.run_data import RunData
from odd_folders import ODD_FOLDERS, scene


@pytest.fixture
def config(toy_run):
    return Config.fromfile(toy_run.config)


@pytest.fixture
def run(toy_run, config, tmp_path):
    return RunData(config, toy_run.checkpoint, cache=tmp_path)


def counted(monkeypatch, name):
    calls = []
    original = getattr(run_data, name)

    def extract(*arguments):
        calls.append(name)
        return original(*arguments)

    monkeypatch.setattr(run_data, name, extract)
    return calls


def test_features_are_those_of_the_encoder_in_the_order_of_the_set(run):
    found = run.training
    assert found.features.shape == (240, 32)
    dataset = run.training_loader.dataset
    model = run.model
    for index in (0, 17, 239):
        sample = dataset[index]
        inputs = sample['inputs']
        image = inputs[0] if isinstance(inputs, list) else inputs
        mean = model.data_preprocessor.mean.view(3, 1, 1)
        std = model.data_preprocessor.std.view(3, 1, 1)
        batch = ((image[[2, 1, 0]].float() - mean) / std)[None]
        with torch.no_grad():
            pooled = model.backbone(batch)[-1].mean((2, 3))[0]
            key = F.normalize(model.extract_keys(batch), dim=1)[0]
        torch.testing.assert_close(found.features[index], pooled)
        torch.testing.assert_close(found.keys[index], key)
        info = dataset.get_data_info(index)
        assert found.labels[index] == info['gt_label']
        assert found.paths[index] == info['img_path']


def test_prototypes_are_those_of_the_checkpoint(run, toy_run):
    assert run.own_prototypes
    state = torch.load(toy_run.checkpoint, weights_only=True)['ahpcl']
    for level, saved in zip(
        run.hierarchy.levels, state['hierarchy']['levels'], strict=True
    ):
        assert torch.equal(level.centroids, saved['centroids'])
        assert torch.equal(level.assignments, saved['assignments'])
    level = run.hierarchy.levels[0]
    centroid = level.centroids[level.assignments[5]]
    expected = (run.training.keys[5] - centroid).norm()
    assert run.distances(0)[5] == pytest.approx(float(expected))
    assert run.lineage(0).parents.shape == (level.num_clusters,)
    assert run.lineage(len(run.hierarchy.levels) - 1) is None


def test_images_are_those_of_the_set(run):
    info = run.training_loader.dataset.get_data_info(9)
    assert np.array_equal(run.image(9), info['img'][..., ::-1])


def test_features_are_extracted_once_for_the_same_weights(
    config, toy_run, tmp_path, monkeypatch
):
    calls = counted(monkeypatch, 'training_features')
    first = RunData(config, toy_run.checkpoint, cache=tmp_path).training
    again = RunData(config, toy_run.checkpoint, cache=tmp_path).training
    assert calls == ['training_features']
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.keys, again.keys)
    assert (first.paths, first.classes) == (again.paths, again.classes)


@pytest.mark.parametrize('change', ['weights', 'images', 'transforms'])
def test_a_cache_of_something_else_is_made_again(
    config, toy_run, tmp_path, monkeypatch, change
):
    calls = counted(monkeypatch, 'training_features')
    _ = RunData(config, toy_run.checkpoint, cache=tmp_path).training
    checkpoint = toy_run.checkpoint
    if change == 'weights':
        checkpoint = tmp_path / toy_run.checkpoint.name
        state = torch.load(toy_run.checkpoint, weights_only=True)
        state['state_dict']['backbone.conv1.weight'] += 1e-3
        torch.save(state, checkpoint)
    settings = config.custom_hooks[0].extract_dataloader.dataset
    if change == 'images':
        settings.img_size = 20
    if change == 'transforms':
        flip = dict(type='RandomFlip', prob=0.0)
        settings.pipeline = [
            settings.pipeline[0],
            flip,
            *settings.pipeline[1:],
        ]
    _ = RunData(config, checkpoint, cache=tmp_path).training
    assert len(calls) == 2


def test_a_damaged_cache_is_made_again(config, toy_run, tmp_path):
    whole = RunData(config, toy_run.checkpoint, cache=tmp_path).training
    file = tmp_path / 'epoch_6_training.npz'
    file.write_bytes(file.read_bytes()[:1000])
    again = RunData(config, toy_run.checkpoint, cache=tmp_path).training
    assert torch.equal(whole.features, again.features)
    assert FeatureSet.load(file).digest == whole.digest


def test_a_feature_file_of_other_weights_is_refused(
    config, toy_run, tmp_path, run
):
    file = tmp_path / 'features.npz'
    run.evaluation.save(file)
    assert run.read_features(file).num_images == run.evaluation.num_images
    earlier = RunData(config, toy_run.work_dir / 'epoch_5.pth')
    with pytest.raises(ValueError, match=r'features of epoch_5\.pth'):
        earlier.read_features(file)
    (tmp_path / 'text.npz').write_text('no features')
    with pytest.raises(ValueError, match='file of features'):
        run.read_features(tmp_path / 'text.npz')


def test_a_checkpoint_of_another_model_is_refused(config, toy_run):
    config.model.backbone.base_channels = 16
    config.model.neck.in_channels = 64
    with pytest.raises(ValueError, match='another architecture'):
        RunData(config, toy_run.checkpoint)


def test_a_checkpoint_that_is_none_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match='does not exist'):
        RunData(config, tmp_path / 'none.pth')
    (tmp_path / 'text.pth').write_text('no checkpoint')
    with pytest.raises(ValueError, match=r'text\.pth'):
        RunData(config, tmp_path / 'text.pth')


def test_prototypes_of_other_images_are_refused(config, toy_run):
    config.custom_hooks[0].extract_dataloader.dataset.split = 'test'
    run = RunData(config, toy_run.checkpoint)
    with pytest.raises(ValueError, match='240 training'):
        _ = run.hierarchy


def test_prototypes_of_some_of_the_images_are_those(config, run, toy_run):
    config.custom_hooks[0].extract_dataloader.dataset.limit = 200
    some = RunData(config, toy_run.checkpoint)
    assert len(some.changes.gone) == 40
    place = {path: i for i, path in enumerate(run.training.paths)}
    own = [place[path] for path in some.training.paths]
    for level, whole in zip(some.hierarchy, run.hierarchy, strict=True):
        assert torch.equal(level.assignments, whole.assignments[own])


def test_an_encoder_without_prototypes_gets_fresh_nested_ones(config):
    run = RunData(config, None)
    assert not run.own_prototypes
    fine, coarse = run.hierarchy.levels
    assert (fine.num_clusters, coarse.num_clusters) == (30, 10)
    assert torch.equal(fine.parents[fine.assignments], coarse.assignments)
    own = fine.centroids[fine.assignments]
    cosine = (run.points * own).sum(1)
    assert bool((cosine >= run.points @ fine.centroids[0] - 1e-5).all())


def test_a_folder_of_classes_is_split_by_class(config, toy_run, tmp_path):
    generator = np.random.default_rng(0)
    for name, count in (('ants', 10), ('bees', 6)):
        (tmp_path / 'set' / name).mkdir(parents=True)
        for place in range(count):
            pixels = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(
                tmp_path / 'set' / name / f'{place}.png'
            )
    run = RunData(
        config, toy_run.checkpoint, evaluate_on=str(tmp_path / 'set')
    )
    labels, query = run.evaluation_roles
    assert labels.tolist() == [0] * 10 + [1] * 6
    assert [int(query[labels == c].sum()) for c in (0, 1)] == [2, 1]
    found = run.evaluation
    assert found.classes == ('ants', 'bees')
    assert torch.equal(found.query, query)
    assert found.paths[0].endswith('0.png')


def test_a_folder_of_deep_images_of_many_bands(config, toy_run, tmp_path):
    """A run on photographs sees the first three bands, not in the dark."""
    for name in ('crops', 'woods'):
        ODD_FOLDERS['seven_bands'](tmp_path / 'set' / name, count=6)
    run = RunData(
        config, toy_run.checkpoint, evaluate_on=str(tmp_path / 'set')
    )
    assert run.evaluation.features.shape == (12, 32)
    image = run.evaluation_loader.dataset[0]
    pixels = run.evaluation_loader.dataset.pixels
    assert pixels.channels == 3 and 'uint16' in dict(pixels.ranges)
    assert image['inputs'][0].max() > 200


def test_what_is_no_folder_cannot_be_evaluated_on(config, toy_run):
    with pytest.raises(ValueError, match="got 'holdout'"):
        RunData(config, toy_run.checkpoint, evaluate_on='holdout')


def test_a_set_of_features_must_fit_together():
    with pytest.raises(ValueError, match='3 images, got 2'):
        FeatureSet(
            torch.zeros(3, 2), torch.zeros(2).long(), torch.zeros(3).bool()
        )


def test_an_image_of_another_depth_is_not_black(run, tmp_path):
    """Twelve bits beside a training on images of eight."""
    dataset = run.training_loader.dataset
    share = scene(5, (16, 16), bands=1)[:, :, 0] / 255
    found = []
    for name, values in (
        ('usual', np.rint(share * 255).astype(np.uint8)),
        ('deep', (300 + share * 1800).astype(np.uint16)),
        ('black', np.zeros((16, 16), np.uint8)),
    ):
        Image.fromarray(values).save(tmp_path / f'{name}.png')
        path = tmp_path / f'{name}.png'
        found.append(encode_image(run.model, dataset, path))
    usual, deep, black = found
    assert (usual - deep).norm() < 0.1 * (usual - black).norm()
    assert dataset.pixels.ranges == ()  # others are read as before


def test_pictures_show_chosen_bands():
    image = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    np.testing.assert_array_equal(shown(image), image[:, :, :3])
    np.testing.assert_array_equal(
        shown(image, (4, 0, 2)), image[:, :, [4, 0, 2]]
    )
    gray = shown(image[:, :, :1])
    assert gray.shape == (2, 3, 3) and (gray == image[:, :, :1]).all()
    assert (shown(image[:, :, :2])[:, :, 2] == 0).all()
    with pytest.raises(ValueError, match='show_bands from 0 to 4'):
        shown(image, (0, 1, 5))


def test_a_data_set_says_which_bands_are_shown(tmp_path):
    ODD_FOLDERS['four_bands'](tmp_path)
    dataset = UnlabelledFolder(
        str(tmp_path),
        show_bands=(3, 0, 1),
        pipeline=[dict(type='LoadImageBGR')],
    )
    expected = scene(2, bands=4).astype(np.uint8)[:, :, [3, 0, 1]]
    np.testing.assert_array_equal(load_image(dataset, 2), expected)
