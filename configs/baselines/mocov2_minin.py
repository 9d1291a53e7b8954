# MoCo v2 on mini-ImageNet.
_base_ = ['../ahpcl_minin.py', '../_base_/methods/mocov2.py']
custom_hooks = _base_.method_hooks
