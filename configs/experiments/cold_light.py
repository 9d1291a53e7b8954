# One start of k-means in place of five.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        clustering=dict(_base_.custom_hooks[0].clustering, n_init=1),
    )
]
