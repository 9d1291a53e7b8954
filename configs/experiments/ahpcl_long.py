# Four times as many epochs: a rung stays as long as its signal wants.
_base_ = 'ahpcl.py'
train_cfg = dict(max_epochs=80)
custom_hooks = _base_.custom_hooks
custom_hooks[0]['warmup_epochs'] = 16
custom_hooks[0]['policy']['max_epochs'] = 20
