# PCL without a warm-up on mini-ImageNet.
_base_ = 'pcl_minin.py'
custom_hooks = [dict(_base_.custom_hooks[0], warmup_epochs=0)]
