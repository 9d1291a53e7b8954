# 100 clusters from beginning to end.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(type='ClusterLadder', rungs=[100], window=1),
        policy=None,
    )
]
