# Rendered shapes on a CPU, whose three levels of classes are known, and the
# numbers that the other methods have there. The ladder ends at the true 36, 12
# and 4 classes.
_base_ = [
    '../models/ahpcl_thin.py',
    '../datasets/shapes.py',
    '../schedules/ahpcl_200e.py',
    '../default_runtime.py',
]
data = dict(
    thin=True,
    # 30 images per cluster on average.
    labels=dict(deepcluster=100, odc=100, sela=100, swav=100),
    small_views=dict(number=2, size=20, scale=(0.3, 0.6)),
    swav=dict(queue_len=512, queue_start_epoch=3, freeze_iters=46, lr=0.05),
)
model = dict(
    symmetric=True,
    backbone=dict(strides=(2, 2, 2)),
    head=dict(loss_inst=dict(temperature=0.1)),
    data_preprocessor=_base_.data.device_views,
)
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
