# The image split of gpu.py for a quarter of an hour of a GPU: 40 epochs.
#
# What makes MoCo v2 learn in so few (its authors' settings for CIFAR-10): a
# 3 x 3 stem, tau = 0.1, a quick key encoder, split batch norm, a symmetric
# loss, a queue of a quarter of the images. ResNet-18 of full width, 64 px.
_base_ = 'gpu.py'
data = dict(
    swav=dict(queue_len=2048, queue_start_epoch=6),
)

model = dict(
    queue_len=4096,
    momentum=0.99,
    backbone=dict(
        _delete_=True,
        type='mmcls.ResNet_CIFAR',
        depth=18,
        strides=(2, 2, 2, 2),
        out_indices=(3,),
        norm_cfg=dict(type='SplitBN', num_splits=2),
    ),
    head=dict(loss_inst=dict(temperature=0.1)),
)
__in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=256, **__in_process)
extract_dataloader = __in_process
val_dataloader = dict(num_workers=0)
test_dataloader = dict(num_workers=0)
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(_base_.extract_dataloader, **__in_process),
        ladder=dict(
            type='ClusterLadder',
            rungs=[1600, 800, 400, 200, 100, 50, 25],
            window=3,
        ),
        # Epochs of a rung: four advances take 32 at most.
        policy=dict(type='SlidingWindowPolicy', length=2, max_epochs=8),
        # One start from k-means++ seeds finds a better objective than PCL's
        # five random ones (docs/benchmarks), in a fifth of the time.
        clustering=dict(type='KMeansClustering', n_iter=20, n_init=1),
        interval=1,
        warmup_epochs=6,
    )
]
# By SGD: scikit-learn's logistic regression takes minutes on a CPU here.
evaluation = dict(linear=[dict(type='LinearMetric', protocol='sgd')])
optim_wrapper = dict(optimizer=dict(lr=0.12, weight_decay=5e-4))
train_cfg = dict(max_epochs=40, val_interval=10)
