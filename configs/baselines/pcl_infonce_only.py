# PCL without prototypes: a warm-up that lasts to the end, so nothing is ever
# extracted or clustered. MoCo v2 by AHPCL's code.
_base_ = 'pcl.py'
_base_.custom_hooks[0].warmup_epochs = _base_.train_cfg.max_epochs
