# MoCo v2 on the digits.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/mocov2.py']
custom_hooks = _base_.method_hooks
