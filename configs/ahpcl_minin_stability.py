# Advance when the clusters of successive E-steps agree.
_base_ = 'ahpcl_minin.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        policy=dict(
            type='StabilityPolicy',
            agreement=0.8,
            min_epochs=3,
            max_epochs=[(1, 10), (100, 14), (800, 16)],
        ),
    )
]
