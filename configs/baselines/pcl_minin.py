# PCL v2 on mini-ImageNet.
_base_ = ['../ahpcl_minin.py', '../_base_/methods/pcl.py']
model = dict(
    head=dict(
        _base_.method.head,
        loss_proto=dict(_base_.method.head.loss_proto, num_negatives=491),
    )
)
custom_hooks = [
    dict(
        _base_.pcl_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[750, 1500, 3000], window=3),
    )
]
