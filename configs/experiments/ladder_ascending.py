# From few clusters to many.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(
            type='ClusterLadder', rungs=sorted(_base_.rungs), window=3
        ),
    )
]
