# Your own images: --data path/to/images
_base_ = [
    '_base_/models/ahpcl_r18.py',
    '_base_/datasets/folder.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
_base_.pop('data')
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(type='AutoLadder'),
    )
]
