# PCL without a warm-up on the digits.
_base_ = 'pcl_digits.py'
custom_hooks = [dict(_base_.custom_hooks[0], warmup_epochs=0)]
