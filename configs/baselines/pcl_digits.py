# PCL v2 on the digits.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/pcl.py']
model = dict(
    head=dict(
        _base_.method.head,
        loss_proto=dict(_base_.method.head.loss_proto, num_negatives=18),
    )
)
custom_hooks = [
    dict(
        _base_.pcl_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[28, 56, 113], window=3),
        warmup_epochs=1,
    )
]
