# The encoder before the first step.
_base_ = 'ahpcl.py'
train_cfg = dict(max_epochs=0)
