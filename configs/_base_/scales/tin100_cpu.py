# TIN-100 on a CPU: a thin ResNet, 32 px, 4,800 images, 40 epochs, and the
# numbers that the other methods have there.
_base_ = [
    '../models/ahpcl_thin.py',
    '../datasets/tin100_32px.py',
    '../schedules/ahpcl_200e.py',
    '../default_runtime.py',
]
data = dict(
    thin=True,
    # 15 images per cluster on average, or 20, or 24.
    labels=dict(deepcluster=320, odc=240, sela=200, swav=200),
    small_views=dict(number=2, size=16, scale=(0.05, 0.2)),
    # At the rate of the other methods SwAV took longer to leave uniform codes.
    swav=dict(queue_len=1024, queue_start_epoch=5, freeze_iters=100, lr=0.05),
)
model = dict(data_preprocessor=_base_.data.device_views)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[400, 200, 100, 50, 25, 10], window=3),
        policy=dict(type='SlidingWindowPolicy', length=3, max_epochs=8),
        warmup_epochs=8,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_cfg = dict(max_epochs=40, val_interval=5)
