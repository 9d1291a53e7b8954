# tau in place of the estimated concentration.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        clustering=dict(
            _base_.custom_hooks[0].clustering, concentration='fixed'
        ),
    )
]
