# SimCLR: the other views of the batch are the negatives. Batch norm is of the
# whole batch, as in the paper: the two views of an image must not find each
# other by the statistics of their part.
_base_ = ['ahpcl.py', '../_base_/methods/simclr.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=dict(_base_.model.backbone, norm_cfg=dict(type='BN')),
    data_preprocessor=_base_.model.data_preprocessor,
    neck=dict(
        _base_.method.neck,
        in_channels=_base_.channels,
        hid_channels=_base_.hidden,
    ),
)
custom_hooks = _base_.method_hooks
