# ODC on the digits: 50 clusters, five per class; small ones, of which the
# mean size is 29, are those of less than 5 images instead of 20.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/odc.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=_base_.thin_neck,
    head=dict(_base_.method.head, in_channels=128, num_classes=50),
    memory_bank=dict(
        _base_.method.memory_bank,
        length=1442,
        feat_dim=128,
        num_classes=50,
        min_cluster=5,
    ),
)
custom_hooks = [
    dict(_base_.odc_hook, extract_dataloader=_base_.extract_dataloader)
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[1], num_views=[1]),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(paramwise_cfg=_base_.head_without_momentum)
