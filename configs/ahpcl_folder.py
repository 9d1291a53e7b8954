# Your own images: --data path/to/images
_base_ = [
    '_base_/models/ahpcl_r18.py',
    '_base_/datasets/folder.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.pop('data').device_views)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(type='AutoLadder', min_images_per_cluster=12, window=3),
    )
]
