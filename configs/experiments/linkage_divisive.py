# Nested, top down.
_base_ = 'ahpcl.py'
custom_hooks = [dict(_base_.custom_hooks[0], linkage='divisive')]
