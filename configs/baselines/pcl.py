# PCL (Li et al., ICLR 2021): AHPCL with a ladder that never moves. PCL's
# released recipe: candidates are the positives of the batch, repeats included,
# and r sampled negatives; no smoothing; three levels at once, each a k-means
# of its own that is not spherical, with 10 to 1,000 points per centroid;
# distances to the centroids before normalisation; alpha 10, temperature 0.2.
#
# The published 25k, 50k and 100k clusters and 16,384 negatives are N / 51,
# N / 26, N / 13 and N / 78 of ImageNet's N = 1,281,167 images; here they are
# the same shares of the images of the data set. Queue, momentum of the key
# encoder, neck (version 2's MLP) and warm-up are AHPCL's of the same data: at
# full length the published 20 of 200 epochs.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__data = _base_.pop('data')
if 'pcl_shares' in __data:
    # The experiments were planned with whole shares, rounded down.
    *__rungs, __negatives = (__data.images // s for s in __data.pcl_shares)
else:
    # The nearest whole numbers; halves are rounded down.
    *__rungs, __negatives = (
        int(__data.images / share + 0.499)
        for share in (51.2, 25.6, 12.8, 78.2)
    )
model = dict(
    head=dict(loss_proto=dict(negatives='batch', num_negatives=__negatives))
)
custom_hooks = [
    dict(
        type='AdaptiveClusterHook',
        extract_dataloader=_base_.custom_hooks[0].extract_dataloader,
        ladder=dict(type='ClusterLadder', rungs=__rungs, window=3),
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
        warmup_epochs=_base_.custom_hooks[0].warmup_epochs,
        interval=1,
    )
]
