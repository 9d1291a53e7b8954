# TIN-100 for a CPU: a thin ResNet, 32 px, 4,800 images, 40 epochs.
_base_ = '_base_/scales/tin100_cpu.py'
__ladder = _base_.custom_hooks[0].ladder
_base_.pop('data').classify_clusters(_base_, __ladder)
