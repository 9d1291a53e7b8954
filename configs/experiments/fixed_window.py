# The first three rungs from beginning to end.
_base_ = 'ahpcl.py'
custom_hooks = [dict(_base_.custom_hooks[0], policy=None)]
