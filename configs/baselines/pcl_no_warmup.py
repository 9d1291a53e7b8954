# PCL without a warm-up.
_base_ = 'pcl.py'
_base_.custom_hooks[0].warmup_epochs = 0
