# A folder of a thousand natural images, trained on as `ahpcl train` would on
# a CPU: images 0 to 99 of every class of CIFAR-10, 60 epochs, and of the
# choices of docs/first_run.md those for so many images. Choices are made on
# the 5,000 images that cifar10.py chooses on.
_base_ = '../../_base_/scales/cifar10.py'
data = dict(images=1000, one_view_epochs=120)
get_data = (
    'make them with python tools/dataset_converters/cifar10.py '
    'cifar-10-binary.tar.gz data/cifar10'
)

model = dict(queue_len=256)
__train = dict(_base_.train_dataloader.dataset, per_class=(0, 100))
__extract = dict(__train, pipeline=_base_.data.extract_pipeline)
__val, __test = (
    _base_[name].dataset.datasets[1]
    for name in ('val_dataloader', 'test_dataloader')
)
train_dataloader = dict(batch_size=32, dataset=__train)
extract_dataloader = dict(dataset=__extract)
val_dataloader = dict(dataset=_base_.data.pair(_base_.data, __train, __val))
test_dataloader = dict(dataset=_base_.data.pair(_base_.data, __train, __test))
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(_base_.extract_dataloader, dataset=__extract),
        ladder=dict(rungs=[83, 41, 20, 10], window=3),
        policy=dict(type='SlidingWindowPolicy', length=2, max_epochs=38),
        warmup_epochs=12,
    )
]
optim_wrapper = dict(type='BF16OptimWrapper', optimizer=dict(lr=0.05))
train_cfg = dict(max_epochs=60, val_interval=12)
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[
        dict(type='LinearMetric', protocol='logreg', grid=[0.1], max_iter=100)
    ],
)
