# MoCo v2 on TIN-100 for a CPU.
_base_ = ['../ahpcl_tin100_cpu.py', '../_base_/methods/mocov2.py']
custom_hooks = _base_.method_hooks
