# AHPCL on TIN-100: ResNet-18, 64 px, 200 epochs, for one GPU.
_base_ = '_base_/scales/tin100.py'
__ladder = _base_.custom_hooks[0].ladder
_base_.pop('data').classify_clusters(_base_, __ladder)
