# AHPCL on mini-ImageNet, the main config: ResNet-18, 84 px, 200 epochs.
_base_ = '_base_/scales/minin.py'
__ladder = _base_.custom_hooks[0].ladder
_base_.pop('data').classify_clusters(_base_, __ladder)
