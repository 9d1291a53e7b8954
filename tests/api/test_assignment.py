"""Images go where the run's own clustering would have put them."""

import csv
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

import ahpcl
from ahpcl.api import ClusterInferencer, FeatureInferencer
from ahpcl.api.assignment import Assigner
from ahpcl.evaluation.cluster_table import image_table
from ahpcl.evaluation.run_data import RunData
from ahpcl.visualization.report_explorer import explorer
from toy import toy_config, toy_method, train


@pytest.fixture(scope='module')
def finished(toy_run):
    run = RunData(
        Config.fromfile(toy_run.config), toy_run.checkpoint, device='cpu'
    )
    images = [run.image(place) for place in range(240)]
    return SimpleNamespace(
        run=run, images=images, folder=toy_run.work_dir, table=image_table(run)
    )


@pytest.fixture(scope='module')
def encoder(finished):
    return ahpcl.load(finished.folder, device='cpu')


@pytest.fixture(scope='module')
def found(encoder, finished):
    return encoder.assign(finished.images)


def test_training_images_are_assigned_as_export_clusters_says(found, finished):
    expected = finished.table
    assert [level.num_clusters for level in found.levels] == [10, 5]
    table = found.table()
    for count in (10, 5):
        name = f'k{count}'
        np.testing.assert_array_equal(
            table[f'{name}_cluster'], expected[f'{name}_cluster']
        )
        for column in ('phi', 'distance'):
            np.testing.assert_allclose(
                table[f'{name}_{column}'],
                expected[f'{name}_{column}'],
                atol=1e-5,
            )
    np.testing.assert_array_equal(table['k10_parent'], expected['k10_parent'])
    assert 'k5_parent' not in table


def test_probabilities_are_those_of_the_concentrations(found, finished):
    keys = finished.run.training.keys.double()
    for level, own in zip(
        finished.run.hierarchy.levels, found.levels, strict=True
    ):
        logits = (keys @ level.centroids.double().t()) / level.concentration
        shares = logits.softmax(dim=1)[torch.arange(240), own.clusters]
        np.testing.assert_allclose(own.probabilities, shares, atol=1e-4)


def test_an_image_of_the_training_is_nearest_to_itself(found, finished):
    names = finished.run.training.paths
    keys = finished.run.training.keys
    for place in range(0, 240, 17):
        distances = (keys - keys[place]).norm(dim=1)
        assert found.nearest_distances[place, 0] < 0.05  # kept as float16
        closest = names.index(found.nearest[place][0])
        assert float(distances[closest]) < 0.05
    assert found.nearest_distances.shape == (240, 3)
    assert not found.missing


def test_what_is_unlike_anything_seen(encoder, found):
    assert 0 < found.threshold < 2
    assert 0 <= found.threshold_rate <= 0.1
    # Distances of fitted images are smaller than those of held-out ones.
    assert found.unlike.mean() <= 0.02
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    strange = encoder.assign(noise)
    finest = strange.levels[0].distances
    np.testing.assert_array_equal(strange.unlike, finest > found.threshold)


def test_the_index_is_in_the_last_checkpoint_alone(finished):
    last = torch.load(finished.folder / 'epoch_6.pth', weights_only=True)
    assert last['ahpcl']['index']['keys'].shape == (240, 128)
    before = ahpcl.load(finished.folder / 'epoch_5.pth', device='cpu')
    told = before.assign(finished.images[:3])
    assert told.unlike is None and told.nearest == ((), (), ())
    assert 'nothing of its training images' in told.missing[0]
    with pytest.raises(ValueError, match='finished run'):
        before.similar(finished.images[0])


def test_similar_images_are_the_nearest_keys(encoder, finished):
    keys = finished.run.training.keys
    (similar,) = encoder.similar(finished.images[7], top=5)
    distances = (keys - keys[7]).norm(dim=1)
    expected = distances.sort().values[:5]
    np.testing.assert_allclose(similar.distances, expected, atol=0.05)
    assert len(similar.images) == 5
    with pytest.raises(ValueError, match='top of at least 1'):
        encoder.similar(finished.images[7], top=0)


def test_inferencers_answer_in_mmengines_form(finished, encoder):
    images = finished.images[:5]
    inferencer = FeatureInferencer(str(finished.folder), device='cpu')
    found = inferencer(images, batch_size=2)
    np.testing.assert_allclose(
        found['features'], encoder.embed(images), atol=1e-6
    )
    samples = inferencer(images, return_datasamples=True)
    torch.testing.assert_close(
        samples[4].feature, torch.from_numpy(found['features'][4])
    )
    assert samples[4].img_path == 'item 4'
    config = Config.fromfile(finished.folder / 'ahpcl_prototypes.py')
    clusters = ClusterInferencer(
        config, str(finished.folder / 'epoch_6.pth'), device='cpu'
    )
    told = clusters(images, return_datasamples=True, nearest=1)
    expected = encoder.assign(images)
    assert [s.clusters.cluster for s in told] == [
        [int(level.clusters[place]) for level in expected.levels]
        for place in range(5)
    ]


def test_names_of_clusters_show_in_both_tables(finished, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    shutil.copy(finished.folder / 'epoch_6.pth', folder)
    encoder = ahpcl.load(folder, device='cpu')
    first = int(encoder.assign(finished.images[:1]).level(5).clusters[0])
    path = encoder.name_clusters({(5, first): 'round ones'})
    assert path == folder / 'clusters.csv'
    with path.open() as file:
        assert list(csv.DictReader(file)) == [
            dict(level='5', cluster=str(first), name='round ones')
        ]
    again = ahpcl.load(folder, device='cpu').assign(finished.images[:1])
    assert again.table()['k5_name'].tolist() == ['round ones']
    config = Config.fromfile(finished.folder / 'ahpcl_prototypes.py')
    run = RunData(config, folder / 'epoch_6.pth', device='cpu')
    table = image_table(run)
    own = table['k5_cluster'] == first
    assert set(table['k5_name'][own]) == {'round ones'}
    assert set(table['k5_name'][~own]) == {''}
    named = explorer(run, 20).data['levels'][1]['names']
    assert named == ['round ones' if c == first else '' for c in range(5)]
    assert explorer(finished.run, 20).data['levels'][1]['names'] is None
    for line, said in (
        ('5,5,x', 'from 0 to 4'),
        ('7,1,x', r'\(10, 5\)'),
        ('5,one,x', "'one'"),
    ):
        path.write_text(f'level,cluster,name\n{line}\n')
        with pytest.raises(ValueError, match=said):
            ahpcl.load(folder, device='cpu').assign(finished.images[:1])
    path.write_text('k,cluster,name\n')
    with pytest.raises(ValueError, match='level'):
        ahpcl.load(folder, device='cpu').assign(finished.images[:1])


def test_without_prototypes_cluster_is_offered(finished):
    warm_up = ahpcl.load(finished.folder / 'epoch_1.pth', device='cpu')
    assert warm_up.embed(finished.images[:2]).shape == (2, 32)
    with pytest.raises(ValueError, match=r'warm-up.*ahpcl\.cluster'):
        warm_up.assign(finished.images[:2])


@pytest.mark.parametrize('linkage', ['agglomerative', 'divisive'])
def test_nested_levels_agree_with_the_run(linkage, tmp_path):
    config = toy_config(tmp_path, linkage=linkage)
    config.train_cfg.max_epochs = 2
    config.custom_hooks[0].policy = None
    train(config)
    encoder = ahpcl.load(tmp_path, device='cpu')
    index = encoder._assigner.index
    assert index.linkage == linkage and index.agreement == (1.0, 1.0)
    run = RunData(config, tmp_path / 'epoch_2.pth', device='cpu')
    found = encoder.assign([run.image(place) for place in range(240)])
    for level, own in zip(run.hierarchy.levels, found.levels, strict=True):
        assert own.clusters.tolist() == level.assignments.tolist()
    parents = found.levels[0].parents
    assert parents.tolist() == found.levels[1].clusters.tolist()


def test_two_runs_and_another_scope_live_in_one_process(finished, tmp_path):
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmcls'):
        one = ahpcl.load(finished.folder / 'epoch_6.pth', device='cpu')
        other = ahpcl.load(finished.folder / 'epoch_2.pth', device='cpu')
        now = DefaultScope.get_current_instance().scope_name
    assert now == 'mmcls'
    images = finished.images[:3]
    first = one.embed(images)
    assert not np.allclose(first, other.embed(images))
    np.testing.assert_array_equal(first, one.embed(images))


def test_features_of_another_width_are_refused(encoder):
    assigner: Assigner = encoder._assigner
    with pytest.raises(ValueError, match=r'\(M, 128\).*\(4, 7\)'):
        assigner(np.ones((4, 7), np.float32), ['a'] * 4)


def test_clusters_of_whitened_features_are_found_again(tmp_path):
    train(toy_method('ahpcl', tmp_path / 'run'))
    folder = tmp_path / 'run'
    (file,) = folder.glob('*.py')
    run = RunData(Config.fromfile(file), folder / 'epoch_3.pth', device='cpu')
    images = [run.image(place) for place in range(320)]
    encoder = ahpcl.load(folder, device='cpu')
    levels = encoder.assign(images).levels
    for level, expected in zip(levels, run.hierarchy.levels, strict=True):
        np.testing.assert_array_equal(level.clusters, expected.assignments)
    keys = encoder.embed(images, space='prototypes')
    assert keys.shape == (320, 64)  # of the backbone, not of the projection
    np.testing.assert_allclose(keys, run.points, atol=1e-4)
    # One file has all that it needs.
    small = tmp_path / 'small.safetensors'
    encoder.export(small, to='safetensors')
    again = ahpcl.load(small, device='cpu').assign(images).levels
    for level, other in zip(levels, again, strict=True):
        np.testing.assert_array_equal(level.clusters, other.clusters)
