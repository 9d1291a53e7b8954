# CIFAR-10 on a CPU: a thin ResNet-18 (32 channels), 20,000 images, 20 epochs,
# and the numbers that the other methods have there.
_base_ = [
    '../models/ahpcl_thin.py',
    '../datasets/cifar10.py',
    '../schedules/ahpcl_200e.py',
    '../default_runtime.py',
]
data = dict(
    thin=True,
    labels=dict(deepcluster=200, odc=200, sela=200, swav=200),
    small_views=dict(number=2, size=16, scale=(0.05, 0.2)),
    # The prototypes stay as they are for the first epoch, the queue starts
    # with AHPCL's clusters.
    swav=dict(queue_len=1024, queue_start_epoch=4, freeze_iters=156),
)
model = dict(
    symmetric=True,
    backbone=dict(stem_channels=32, base_channels=32, strides=(2, 2, 2)),
    neck=dict(in_channels=128, hid_channels=256),
    head=dict(loss_inst=dict(temperature=0.1)),
    data_preprocessor=_base_.data.device_views,
)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[1000, 400, 200, 100, 50, 25, 10], window=3),
        # The last window, 50, 25, 10, is reached after 16 epochs at most.
        policy=dict(type='SlidingWindowPolicy', length=2, max_epochs=3),
        warmup_epochs=4,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=5e-4))
train_cfg = dict(max_epochs=20, val_interval=5)
