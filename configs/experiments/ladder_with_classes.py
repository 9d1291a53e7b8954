# The number of classes in place of the rung next to it.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(
            type='ClusterLadder',
            rungs=[*_base_.rungs[:4], _base_.num_classes, _base_.rungs[5]],
            window=3,
        ),
    )
]
