# The demo: scikit-learn's digits on a CPU in a few minutes.
_base_ = [
    '_base_/models/ahpcl_thin.py',
    '_base_/datasets/digits.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
model = dict(queue_len=512)
custom_hooks = [
    dict(
        _base_.cluster_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[200, 100, 50, 25, 10, 5], window=3),
        policy=dict(type='SlidingWindowPolicy', length=3, max_epochs=6),
        warmup_epochs=1,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_cfg = dict(max_epochs=30, val_interval=5)
default_hooks = dict(logger=dict(interval=22))
