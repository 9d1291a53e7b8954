# SimCLR on TIN-100.
_base_ = ['../ahpcl_tin100.py', '../_base_/methods/simclr.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
)
custom_hooks = _base_.method_hooks
