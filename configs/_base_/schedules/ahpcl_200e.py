# SGD with a cosine, and the method's own schedule: a ladder from many clusters
# to few, which the sliding window moves.
_base_ = 'sgd_cosine.py'
train_cfg = dict(max_epochs=200, val_interval=10)
cluster_hook = dict(
    type='AdaptiveClusterHook',
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
        # Per rung: 10 epochs at most, from K = 100 on 14, from 800 on 16. So
        # the ladder ends by epoch 144 whatever the signals are.
        max_epochs=[(1, 10), (100, 14), (800, 16)],
    ),
    # An E-step every second epoch, and where the ladder moves. A rung that is
    # new starts from k-means++ seeds, once; then it goes on from the images of
    # its clusters until no more than 0.3 % of the images move, and every 10
    # epochs it starts again.
    interval=2,
    clustering=dict(
        type='KMeansClustering',
        n_iter=20,
        n_init=1,
        warm_start=True,
        warm_from='images',
        warm_iter=20,
        restart_every=10,
        tolerance=0.003,
    ),
    linkage='independent',
    label_smoothing=dict(ceiling=0.2, reference='newest'),
    warmup_epochs=20,
)
