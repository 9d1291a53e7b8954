# AHPCL on TIN-100: ResNet-18, 64 px, 200 epochs, for one GPU.
_base_ = '_base_/scales/tin100.py'
_base_.pop('data')
