# mini-ImageNet on a GPU: ResNet-18, 84 px, 200 epochs, and the numbers that
# the other methods have there.
_base_ = [
    '../models/ahpcl_r18.py',
    '../datasets/mini_imagenet.py',
    '../schedules/ahpcl_200e.py',
    '../default_runtime.py',
]
data = dict(
    thin=False,
    # 128 images per cluster on average, as in DeepCluster's and ODC's papers.
    labels=dict(deepcluster=300, odc=300, sela=300, swav=300),
    small_views=dict(number=6, size=40, scale=(0.05, 0.2)),
    # SwAV's prototypes stay as they are for the first epoch.
    swav=dict(queue_len=1024, queue_start_epoch=15, freeze_iters=300),
)
model = dict(data_preprocessor=_base_.data.device_views)
custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=_base_.extract_dataloader,
    )
]
