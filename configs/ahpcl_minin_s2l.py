# The ladder from few clusters to many.
_base_ = 'ahpcl_minin.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(
            type='ClusterLadder',
            rungs=[
                *(2, 5, 10, 20, 33, 50),
                *(100, 200, 400, 800, 1600, 2400, 3200),
            ],
            window=3,
        ),
    )
]
