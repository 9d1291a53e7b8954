# SimCLR on the digits.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/simclr.py']
model = dict(
    _base_.method,
    _delete_=True,
    # Of the whole batch: the views of an image must not find each other by
    # the statistics of their part.
    backbone=dict(_base_.model.backbone, norm_cfg=dict(type='BN')),
    data_preprocessor=_base_.model.data_preprocessor,
    neck=dict(_base_.method.neck, in_channels=64, hid_channels=128),
)
custom_hooks = _base_.method_hooks
