# An E-step every third epoch.
_base_ = 'ahpcl.py'
custom_hooks = [dict(_base_.custom_hooks[0], interval=3)]
