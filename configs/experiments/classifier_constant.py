# The classifier's rate stays as it begins, where the encoder's follows a cosine.
_base_ = '../baselines/ahpcl.py'
custom_hooks = [*_base_.custom_hooks, dict(type='ConstantClassifierRate')]
