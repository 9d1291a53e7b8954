# SimCLR: the other views of the batch are the negatives.
_base_ = ['ahpcl.py', '../_base_/methods/simclr.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=dict(
        _base_.method.neck,
        in_channels=_base_.channels,
        hid_channels=_base_.hidden,
    ),
)
custom_hooks = _base_.method_hooks
