# PCL's numbers on ImageNet: ResNet-50, 25k, 50k and 100k clusters at once.
# Views and clustering are those of all configs here; so many clusters keep
# prototype contrast with sampled negatives, as a classifier's cross entropy
# would take all 100k.
_base_ = [
    '_base_/models/ahpcl_r18.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
model = dict(
    queue_len=16384,
    data_preprocessor=_base_.pop('data').device_views,
    backbone=dict(depth=50),
    neck=dict(in_channels=2048, hid_channels=2048),
    head=dict(loss_proto=dict(num_negatives=16000)),
)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[25000, 50000, 100000], window=3),
        policy=None,
        label_smoothing=None,
    )
]
