# MoCo v2 on TIN-100.
_base_ = ['../ahpcl_tin100.py', '../_base_/methods/mocov2.py']
custom_hooks = _base_.method_hooks
