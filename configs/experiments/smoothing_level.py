# Every level is smoothed by its own number of clusters.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        label_smoothing=dict(ceiling=0.2, reference='level'),
    )
]
