# PCL v2 on TIN-100 for a CPU.
_base_ = ['../ahpcl_tin100_cpu.py', '../_base_/methods/pcl.py']
model = dict(
    head=dict(
        _base_.method.head,
        loss_proto=dict(_base_.method.head.loss_proto, num_negatives=61),
    )
)
custom_hooks = [
    dict(
        _base_.pcl_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[94, 187, 375], window=3),
        warmup_epochs=8,
    )
]
