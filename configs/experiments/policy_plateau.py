# Advances when neither accuracy grows.
_base_ = 'ahpcl.py'
__most = _base_.custom_hooks[0].policy.max_epochs
_base_.custom_hooks[0].policy = dict(type='PlateauPolicy', max_epochs=__most)
