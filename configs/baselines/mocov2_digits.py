# MoCo v2 on the digits.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/mocov2.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=_base_.model.neck,
    queue_len=_base_.model.queue_len,
    momentum=_base_.model.momentum,
)
custom_hooks = _base_.method_hooks
