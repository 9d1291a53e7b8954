# HCSC (Guo et al., CVPR 2022): MoCo v2 and prototypes of nested levels, whose
# hierarchy selects the negatives. k-means as in PCL, from the finest level
# upwards; both selections; all prototypes of a level are candidates.
#
# Per data set: the rungs. The published 3,000, 2,000 and 1,000 clusters are
# N / 427, N / 641 and N / 1,281 of ImageNet's images. Queue, momentum of the
# key encoder, neck and warm-up are AHPCL's of the same data: at full length
# the published 20 of 200 epochs.
method = dict(
    head=dict(
        type='HPCLHead',
        loss_inst=dict(type='InfoNCELoss', temperature=0.2),
        loss_proto=dict(
            type='ProtoNCELoss', negatives='unique', num_negatives=None
        ),
        selection=dict(
            type='HierarchicalSelection', instances=True, prototypes=True
        ),
    )
)
hcsc_hook = dict(
    type='AdaptiveClusterHook',
    ladder=dict(type='ClusterLadder', rungs=[3000, 2000, 1000], window=3),
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
    warmup_epochs=20,
    interval=1,
)
