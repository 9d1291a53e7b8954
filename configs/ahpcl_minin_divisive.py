# Fine clusters are parts of the coarse ones.
_base_ = 'ahpcl_minin.py'
custom_hooks = [dict(_base_.custom_hooks[0], linkage='divisive')]
