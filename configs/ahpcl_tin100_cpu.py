# TIN-100 for a CPU: a thin ResNet, 32 px, 4,800 images, 40 epochs.
_base_ = '_base_/scales/tin100_cpu.py'
_base_.pop('data')
