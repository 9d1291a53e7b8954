# PCL v2 as published; clusters and negatives as shares of N (docs/methods.md).
_base_ = ['ahpcl.py', '../_base_/methods/pcl.py']
model = dict(
    head=dict(
        loss_proto=dict(
            negatives='batch', num_negatives=_base_.num_images // 78
        ),
    )
)
custom_hooks = [
    dict(
        _base_.pcl_hook,
        extract_dataloader=_base_.custom_hooks[0].extract_dataloader,
        ladder=dict(
            type='ClusterLadder',
            rungs=[
                _base_.num_images // 51,
                _base_.num_images // 26,
                _base_.num_images // 13,
            ],
            window=3,
        ),
        warmup_epochs=_base_.warmup_epochs,
    )
]
