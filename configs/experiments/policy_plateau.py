# Advances when neither accuracy grows.
_base_ = 'ahpcl.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        policy=dict(type='PlateauPolicy', max_epochs=_base_.longest_stay),
    )
]
