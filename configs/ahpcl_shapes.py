# Rendered shapes; the ladder ends at the true 36, 12 and 4 classes.
_base_ = [
    '_base_/models/ahpcl_thin.py',
    '_base_/datasets/shapes.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.pop('data').device_views)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[300, 200, 100, 36, 12, 4], window=3),
        policy=dict(type='SlidingWindowPolicy', length=3, max_epochs=5),
        linkage='agglomerative',
        warmup_epochs=4,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_cfg = dict(max_epochs=25, val_interval=5)
