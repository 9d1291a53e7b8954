# AHPCL on mini-ImageNet, the main config: ResNet-18, 84 px, 200 epochs.
_base_ = '_base_/scales/minin.py'
_base_.pop('data')
