# Your own images: --data path/to/images
_base_ = [
    '_base_/models/ahpcl_r18.py',
    '_base_/datasets/folder.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
__ladder = dict(
    type='AutoLadder', min_images_per_cluster=12, finest=3200, window=3
)
__data = _base_.pop('data')
__data.classify_clusters(_base_, __ladder)
model = dict(data_preprocessor=__data.device_views)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=__ladder,
    )
]
