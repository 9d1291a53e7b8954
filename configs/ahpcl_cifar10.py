# CIFAR-10 for a CPU: a thin ResNet-18, 20,000 images, 20 epochs.
_base_ = '_base_/scales/cifar10.py'
__ladder = _base_.custom_hooks[0].ladder
_base_.pop('data').classify_clusters(_base_, __ladder)
