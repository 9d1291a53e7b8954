# k-means goes on from the E-step before.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        clustering=dict(_base_.custom_hooks[0].clustering, warm_start=True),
    )
]
