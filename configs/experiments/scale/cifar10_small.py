# CIFAR-10 for many rows: half of the images of cifar10.py, half of the
# channels, and float32, which needs no bfloat16 instructions. The first rows
# took 21 to 25 minutes beside other work, where those of cifar10.py took 38
# to 78.
#
# Training sees images 0 to 999 of every class; choices are made on the 5,000
# images that cifar10.py chooses on, the final table is of the folder test. The
# batch is 64, so that 20 epochs are as many steps as 20 of cifar10.py.
_base_ = '../../_base_/scales/cifar10.py'
data = dict(
    images=10000,
    # Methods of one view train for twice the epochs: as many passes.
    one_view_epochs=40,
    swav=dict(queue_len=512, queue_start_epoch=5, freeze_iters=312),
    pcl_shares=(51, 26, 13, 78),
)
get_data = (
    'make them with python tools/dataset_converters/cifar10.py '
    'cifar-10-binary.tar.gz data/cifar10'
)

model = dict(
    queue_len=512,
    backbone=dict(stem_channels=16, base_channels=16),
    neck=dict(in_channels=64, hid_channels=128),
)
__train = dict(_base_.train_dataloader.dataset, per_class=(0, 1000))
__extract = dict(__train, pipeline=_base_.data.extract_pipeline)
__val, __test = (
    _base_[name].dataset.datasets[1]
    for name in ('val_dataloader', 'test_dataloader')
)
train_dataloader = dict(batch_size=64, dataset=__train)
extract_dataloader = dict(dataset=__extract)
val_dataloader = dict(dataset=_base_.data.pair(_base_.data, __train, __val))
test_dataloader = dict(dataset=_base_.data.pair(_base_.data, __train, __test))
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(_base_.extract_dataloader, dataset=__extract),
        ladder=dict(rungs=[400, 200, 100, 50, 25, 10], window=3),
        # The last window, 50, 25, 10, is reached after 14 epochs at most.
        policy=dict(type='SlidingWindowPolicy', length=2, max_epochs=3),
        warmup_epochs=5,
        clustering=dict(n_init=1, warm_start=True),
        interval=1,
    )
]
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[
        dict(type='LinearMetric', protocol='logreg', grid=[0.1], max_iter=100)
    ],
)
