# Advance every 12 epochs.
_base_ = 'ahpcl_minin.py'
custom_hooks = [
    dict(_base_.custom_hooks[0], policy=dict(type='FixedPolicy', epochs=12))
]
