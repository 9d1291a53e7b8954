# TIN-100 for a CPU: a thin ResNet, 32 px, 4,800 images, 40 epochs.
_base_ = [
    '_base_/models/ahpcl_thin.py',
    '_base_/datasets/tin100_32px.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
custom_hooks = [
    dict(
        _base_.cluster_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[400, 200, 100, 50, 25, 10], window=3),
        policy=dict(type='SlidingWindowPolicy', length=3, max_epochs=8),
        warmup_epochs=8,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_cfg = dict(max_epochs=40, val_interval=5)
