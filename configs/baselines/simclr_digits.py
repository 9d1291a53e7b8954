# SimCLR on the digits.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/simclr.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=dict(_base_.method.neck, in_channels=64, hid_channels=128),
)
custom_hooks = _base_.method_hooks
