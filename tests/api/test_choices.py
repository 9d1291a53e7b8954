"""What is chosen for how many images of which size, and on what."""

from pathlib import Path

import pytest
from mmengine.registry import TASK_UTILS

from ahpcl.api import choices
from ahpcl.api.choices import make_plan, set_epochs, steps_of, view_size
from ahpcl.api.pace import Pace
from ahpcl.api.plan import Request
from ahpcl.api.survey import Survey
from ahpcl.api.train import _epochs_in
from ahpcl.engine import build_ladder


def images(count, side=64, classes=0):
    return Survey(
        folder='/photos',
        count=count,
        endings=f'{count} .jpg',
        short=side,
        long=round(side * 1.5),
        sizes=f'{side} px',
        labels='folders' if classes else None,
        classes=classes,
        labelled=count if classes else 0,
    )


def planned(count, side=64, classes=0, on_gpu=False, **more):
    return make_plan(
        images(count, side, classes), Request(**more), on_gpu=on_gpu, cores=2
    )


COUNTS = (16, 40, 300, 2000, 38_400, 1_281_167)


@pytest.mark.parametrize('count', COUNTS)
@pytest.mark.parametrize('on_gpu', [False, True])
def test_any_number_of_images_can_train(count, on_gpu):
    """What the run checks at its start holds for every number of epochs."""
    plan = planned(count, on_gpu=on_gpu)
    config = plan.config
    batch = config.train_dataloader.batch_size
    assert 8 <= batch <= count
    assert batch % 4 == 0  # split batch norm
    assert config.model.queue_len <= count // 2
    for epochs in (1, 2, 3, 7, 20, 41, 800):
        set_epochs(plan, epochs)
        assert config.train_cfg.max_epochs == epochs
        hook = plan.hook
        ladder = build_ladder(hook.ladder, count)  # refuses what cannot fit
        rungs = ladder.rungs
        assert len(set(rungs)) == len(rungs)
        assert hook.warmup_epochs < epochs
        if hook.policy is None:
            assert len(rungs) == ladder.window
            continue
        stays = rungs[ladder.window - 1 : -1]
        _, most = TASK_UTILS.build(hook.policy).epochs_needed(stays)
        # The last window has a fifth of the time that is left.
        assert hook.warmup_epochs + most <= epochs


@pytest.mark.parametrize(
    ('count', 'side', 'on_gpu', 'kind', 'depth', 'size'),
    [
        (2000, 64, False, 'mmcls.ResNet_CIFAR', 18, 32),
        (2000, 500, False, 'mmcls.ResNet_CIFAR', 18, 64),
        (2000, 16, False, 'mmcls.ResNet_CIFAR', 18, 16),
        (50_000, 32, True, 'mmcls.ResNet_CIFAR', 18, 32),
        (16_000, 64, True, 'ResNet', 18, 64),
        (1_281_167, 400, True, 'ResNet', 50, 224),
        (5000, 400, True, 'ResNet', 18, 160),
    ],
)
def test_encoder_and_size(count, side, on_gpu, kind, depth, size):
    plan = planned(count, side, on_gpu=on_gpu)
    backbone = plan.config.model.backbone
    assert (backbone.type, backbone.depth) == (kind, depth)
    assert view_size(plan.config) == size
    crops = [
        step.get('crop_size')
        for step in plan.hook.extract_dataloader.dataset.pipeline
        if step['type'] == 'CenterCrop'
    ]
    assert crops == [size]
    width = {18: 512, 50: 2048}[depth]
    if kind == 'mmcls.ResNet_CIFAR' and not on_gpu:
        width = 128
    assert plan.config.model.neck.in_channels == width
    assert {'encoder', 'size', 'batch'} <= set(plan.reasons)


@pytest.mark.parametrize('fast', [False, True])
@pytest.mark.parametrize('on_gpu', [False, True])
def test_precision_is_what_the_device_is_fast_in(monkeypatch, fast, on_gpu):
    kinds = []
    monkeypatch.setattr(
        choices,
        'has_bf16_instructions',
        lambda kind: (kinds.append(kind), fast)[1],
    )
    plan = planned(2000, on_gpu=on_gpu)
    assert kinds == ['cuda' if on_gpu else 'cpu']
    kind = plan.config.optim_wrapper.type
    assert kind == ('BF16OptimWrapper' if fast else 'OptimWrapper')
    assert ('precision' in plan.reasons) is fast
    mine = planned(2000, config='ahpcl_folder.py')
    assert mine.config.optim_wrapper.type == 'OptimWrapper'


def test_a_model_that_is_asked_for_is_taken():
    plan = planned(2000, model='resnet50', image_size=96)
    assert plan.config.model.backbone.depth == 50
    assert view_size(plan.config) == 96
    with pytest.raises(ValueError, match="got 'resnet51'"):
        planned(2000, model='resnet51')
    with pytest.raises(ValueError, match='model or config, got both'):
        planned(2000, model='thin', config='ahpcl::ahpcl_folder.py')
    with pytest.raises(
        ValueError, match=r"got 'ahpcl_foldr\.py': did you mean ahpcl_folder"
    ):
        planned(2000, config='ahpcl_foldr.py')


def test_a_config_that_is_given_keeps_its_own():
    plan = planned(40, config='ahpcl_folder.py')
    set_epochs(plan, 10)
    config = plan.config
    assert config.model.backbone.type == 'ResNet'
    assert config.optim_wrapper.optimizer.lr == 0.03
    assert view_size(config) == 84
    # But for what these images and epochs cannot fill.
    assert plan.hook.warmup_epochs == 2
    assert config.train_dataloader.batch_size == 16
    assert config.model.queue_len == 16
    assert max(plan.hook.ladder.rungs) <= 20
    assert config.train_dataloader.dataset.data_root == '/photos'
    assert plan.hook.extract_dataloader.dataset.data_root == '/photos'


def test_a_loss_with_weights_for_clusters_has_those_of_the_ladder(tmp_path):
    shipped = Path(__file__).resolve().parents[2] / 'configs'
    own = tmp_path / 'own.py'
    own.write_text(
        f'_base_ = {str(shipped / "ahpcl_folder_cpu.py")!r}\n'
        "model = dict(cluster_space='whitened', head=dict(loss_proto=dict(\n"
        "    _delete_=True, type='ClusterClassifierLoss', num_clusters=2)))\n"
    )
    plan = planned(2000, config=str(own))
    set_epochs(plan, 20)
    ladder = plan.hook.ladder
    loss = plan.config.model.head.loss_proto
    assert loss.num_clusters == max(ladder.rungs) > 2
    assert loss.num_levels == ladder.window


def test_labels_let_knn_watch():
    assert planned(2000).config.val_dataloader is None
    plan = planned(2000, classes=10)
    set_epochs(plan, 40)
    parts = plan.config.val_dataloader.dataset.datasets
    assert [part.per_class for part in parts] == [(0.0, 0.8), (0.8, 1.0)]
    assert all(part.labels_from_folders for part in parts)
    assert 'labels_from_folders' not in plan.config.train_dataloader.dataset
    assert plan.config.train_cfg.val_interval == 8
    large = planned(60_000, classes=10).config.val_dataloader.dataset.datasets
    assert [part.limit for part in large] == [8000, 2000]


def test_large_photographs_are_kept_small():
    def side(plan):
        return plan.config.train_dataloader.dataset.get('decoded_max_side')

    plan = planned(2000, side=3000)
    assert side(plan) == 256 and 'reading' in plan.reasons
    plan = planned(2000, side=64)
    assert side(plan) == 128 and 'reading' not in plan.reasons


PACE = Pace(step=0.5, image=0.001, cluster=1e-7)


def test_seconds_by_hand():
    plan = planned(2000)
    set_epochs(plan, 5)
    plan.hook.warmup_epochs = 1
    plan.hook.ladder = dict(type='ClusterLadder', rungs=[60, 40, 20], window=3)
    assert steps_of(plan) == 62
    # 310 steps; of 4 epochs every second has an E-step, and one is at the
    # end, of 2000 images each.
    expected = 310 * 0.5 + 3 * (2000 * 0.001 + 2000 * 120 * 1e-7)
    found = PACE.seconds(plan.config, 2000, 0)
    assert found == pytest.approx(1.08 * expected + 4)
    plan.config.train_cfg.val_interval = 2
    checked = PACE.seconds(plan.config, 2000, 500)
    assert checked - found == pytest.approx(1.08 * 3 * 500 * 0.001)


@pytest.mark.parametrize('minutes', [0.7, 5, 30])
def test_the_most_epochs_that_fit(minutes):
    plan = planned(2000)
    budget = 60 * minutes
    epochs = _epochs_in(plan, PACE, budget, minutes)
    set_epochs(plan, epochs)
    assert PACE.seconds(plan.config, 2000, 0) <= budget
    set_epochs(plan, epochs + 1)
    assert PACE.seconds(plan.config, 2000, 0) > budget


def test_too_little_time_names_what_suffices():
    plan = planned(2000)
    with pytest.raises(ValueError, match=r'got 0\.1:.*give minutes=') as error:
        _epochs_in(plan, PACE, 5, 0.1)
    least = float(str(error.value).split('minutes=')[1].split(' ')[0])
    assert _epochs_in(plan, PACE, 60 * least, least) >= 1
