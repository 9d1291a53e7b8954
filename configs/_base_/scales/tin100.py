# TIN-100 on a GPU: ResNet-18, 64 px, 200 epochs, and the numbers that the
# other methods have there.
_base_ = [
    '../models/ahpcl_r18.py',
    '../datasets/tin100.py',
    '../schedules/ahpcl_200e.py',
    '../default_runtime.py',
]
data = dict(
    thin=False,
    # 80 images per cluster on average.
    labels=dict(deepcluster=200, odc=200, sela=200, swav=300),
    small_views=dict(number=6, size=32, scale=(0.05, 0.2)),
    swav=dict(queue_len=1024, queue_start_epoch=15, freeze_iters=300),
)
model = dict(data_preprocessor=_base_.data.device_views)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
    )
]
