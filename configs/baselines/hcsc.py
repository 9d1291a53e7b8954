# HCSC (Guo et al., CVPR 2022): MoCo v2 and prototypes of nested levels, whose
# hierarchy selects the negatives. k-means as in PCL, from the finest level
# upwards; both selections; all prototypes of a level are candidates.
#
# The published 3,000, 2,000 and 1,000 clusters are N / 427, N / 641 and
# N / 1,281 of ImageNet's images. Of few images these would be 3 clusters or
# 11: at least 30, 20 and 10 keep the published ratio of the levels. Queue,
# momentum of the key encoder, neck and warm-up are AHPCL's of the same data:
# at full length the published 20 of 200 epochs.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__data = _base_.pop('data')
model = dict(
    head=dict(
        loss_proto=dict(negatives='unique', num_negatives=None),
        selection=dict(
            type='HierarchicalSelection', instances=True, prototypes=True
        ),
    )
)
custom_hooks = [
    dict(
        type='AdaptiveClusterHook',
        extract_dataloader=_base_.custom_hooks[0].extract_dataloader,
        ladder=dict(
            type='ClusterLadder',
            rungs=[
                max(least, round(__data.images / share))
                for least, share in ((30, 427), (20, 641), (10, 1281))
            ],
            window=3,
        ),
        policy=None,
        clustering=dict(
            type='KMeansClustering',
            n_iter=20,
            n_init=5,
            spherical=False,
            min_points=10,
            max_points=1000,
            alpha=10.0,
        ),
        linkage='agglomerative',
        label_smoothing=None,
        warmup_epochs=_base_.custom_hooks[0].warmup_epochs,
        interval=1,
    )
]
