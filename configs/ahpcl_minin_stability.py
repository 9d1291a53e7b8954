# Advance when the clusters of successive E-steps agree. There is one in every
# epoch, from new seeds: warm starts would agree with the one before by
# themselves.
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
        clustering=dict(_base_.custom_hooks[0].clustering, warm_start=False),
        interval=1,
    )
]
