# No cluster of more than twice the mean size.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        clustering=dict(_base_.custom_hooks[0].clustering, balance=2.0),
    )
]
