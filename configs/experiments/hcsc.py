# HCSC: both selections, and the published ratio 3 : 2 : 1 of the levels.
_base_ = ['ahpcl.py', '../_base_/methods/hcsc.py']
model = dict(
    head=dict(
        loss_proto=dict(negatives='unique', num_negatives=None),
        selection=_base_.method.head.selection,
    )
)
custom_hooks = [
    dict(
        _base_.hcsc_hook,
        extract_dataloader=_base_.custom_hooks[0].extract_dataloader,
        ladder=dict(type='ClusterLadder', rungs=[60, 40, 20], window=3),
        warmup_epochs=_base_.warmup_epochs,
    )
]
