# PCL (Li et al., ICLR 2021): AHPCL with a ladder that never moves. PCL's
# released recipe: candidates are the positives of the batch, repeats included,
# and r sampled negatives; no smoothing; three levels at once, each a k-means
# of its own that is not spherical, with 10 to 1,000 points per centroid;
# distances to the centroids before normalisation; alpha 10, temperature 0.2.
#
# Per data set: the rungs and the number of negatives. The published 25k, 50k
# and 100k clusters and 16,384 negatives are N / 51, N / 26, N / 13 and N / 78
# of ImageNet's N = 1,281,167 images; a config takes the same shares of its N.
# Queue, momentum of the key encoder, neck (version 2's MLP) and warm-up are
# AHPCL's of the same data: at full length the published 20 of 200 epochs.
method = dict(
    head=dict(
        type='HPCLHead',
        loss_inst=dict(type='InfoNCELoss', temperature=0.2),
        loss_proto=dict(
            type='ProtoNCELoss', negatives='batch', num_negatives=16384
        ),
    )
)
pcl_hook = dict(
    type='AdaptiveClusterHook',
    ladder=dict(type='ClusterLadder', rungs=[25000, 50000, 100000], window=3),
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
    linkage='independent',
    label_smoothing=None,
    warmup_epochs=20,
    interval=1,
)
