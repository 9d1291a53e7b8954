# The classifier's rate is 3 times the encoder's, where AHPCL has 10.
_base_ = '../baselines/ahpcl.py'
__keys = _base_.optim_wrapper.paramwise_cfg.custom_keys
__keys['head.loss_proto'].lr_mult = 3.0
