# As many clusters as there are classes, from beginning to end.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:../../experiments/scale/cpu}}.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(
            type='ClusterLadder', rungs=[_base_.pop('data').classes], window=1
        ),
        policy=None,
    )
]
