# Keys of the training pass in place of an extraction.
_base_ = 'ahpcl.py'
custom_hooks = [dict(_base_.custom_hooks[0], features='bank')]
