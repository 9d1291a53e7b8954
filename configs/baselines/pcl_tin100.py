# PCL v2 on TIN-100.
_base_ = ['../ahpcl_tin100.py', '../_base_/methods/pcl.py']
model = dict(
    head=dict(
        _base_.method.head,
        loss_proto=dict(_base_.method.head.loss_proto, num_negatives=205),
    )
)
custom_hooks = [
    dict(
        _base_.pcl_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[312, 625, 1250], window=3),
    )
]
