# Advances when the clusters have settled.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        policy=dict(
            type='StabilityPolicy',
            agreement=0.7,
            max_epochs=_base_.longest_stay,
        ),
    )
]
