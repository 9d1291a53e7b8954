# The digits on a CPU: AHPCL in a few minutes, and the numbers that the other
# methods have there.
_base_ = [
    '../models/ahpcl_thin.py',
    '../datasets/digits.py',
    '../schedules/ahpcl_200e.py',
    '../default_runtime.py',
]
data = dict(
    thin=True,
    # Clusters or labels: ten per class, or five.
    labels=dict(deepcluster=100, odc=50, sela=50, swav=100),
    small_views=dict(number=2, size=10, scale=(0.3, 0.6)),
    # At the rate of the other methods SwAV took longer to leave uniform codes.
    swav=dict(queue_len=256, queue_start_epoch=3, freeze_iters=22, lr=0.05),
)
model = dict(queue_len=512, data_preprocessor=_base_.data.device_views)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[200, 100, 50, 25, 10, 5], window=3),
        policy=dict(type='SlidingWindowPolicy', length=3, max_epochs=6),
        warmup_epochs=1,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_cfg = dict(max_epochs=30, val_interval=5)
default_hooks = dict(logger=dict(interval=22))
