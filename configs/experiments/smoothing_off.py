# No label smoothing.
_base_ = 'ahpcl.py'
custom_hooks = [dict(_base_.custom_hooks[0], label_smoothing=None)]
