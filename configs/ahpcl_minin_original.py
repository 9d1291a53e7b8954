# The method as first published, whatever the defaults are today: batch 64,
# rate 0.03 with a cosine, queue and negatives 1024, tau 0.2, momentum 0.999,
# the MLP neck and MoCo v2's augmentation. The candidates of the loss are
# PCL's, the positives of the batch, repeats included: their accuracy is what
# the policy sees.
_base_ = '_base_/scales/minin.py'
_base_.pop('data')
train_dataloader = dict(batch_size=64)
model = dict(
    queue_len=1024,
    momentum=0.999,
    symmetric=False,
    head=dict(
        loss_inst=dict(temperature=0.2),
        loss_proto=dict(negatives='batch', num_negatives=1024),
        proto_weight=1.0,
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.03))
custom_hooks = [
    dict(
        type='AdaptiveClusterHook',
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(
            type='ClusterLadder',
            rungs=[
                *(3200, 2400, 1600, 800, 400, 200, 100),
                *(50, 25, 20, 10, 5, 2),
            ],
            window=3,
        ),
        policy=dict(
            type='SlidingWindowPolicy',
            length=5,
            threshold=0.01,
            growth=1.5,
            relax=0.99,
            max_epochs=[(1, 10), (100, 14), (800, 16)],
        ),
        clustering=dict(
            type='KMeansClustering', n_iter=20, n_init=5, spherical=True
        ),
        linkage='independent',
        label_smoothing=dict(ceiling=0.2, reference='newest'),
        warmup_epochs=20,
        interval=1,
    )
]
