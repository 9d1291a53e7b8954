# One rung at a time.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(type='ClusterLadder', rungs=_base_.rungs, window=1),
    )
]
