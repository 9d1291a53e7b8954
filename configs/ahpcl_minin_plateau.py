# Advance when both accuracies stopped improving.
_base_ = 'ahpcl_minin.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        policy=dict(
            type='PlateauPolicy',
            min_gain=0.01,
            min_epochs=3,
            max_epochs=[(1, 10), (100, 14), (800, 16)],
        ),
    )
]
