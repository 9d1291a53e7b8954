# As many clusters as there are classes, from beginning to end.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(
            type='ClusterLadder', rungs=[_base_.num_classes], window=1
        ),
        policy=None,
    )
]
