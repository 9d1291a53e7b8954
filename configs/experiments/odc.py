# ODC: one view of every image; labels that change in every step.
_base_ = ['ahpcl.py', '../_base_/methods/odc.py']
extract_dataloader = _base_.custom_hooks[0].extract_dataloader
neck = _base_.thin_neck if _base_.thin else _base_.method.neck
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=dict(_base_.model.data_preprocessor),
    neck=dict(neck, in_channels=_base_.channels),
    head=dict(
        _base_.method.head,
        in_channels=neck['out_channels'],
        num_classes=_base_.num_labels,
    ),
    memory_bank=dict(
        _base_.method.memory_bank,
        length=_base_.num_images,
        feat_dim=neck['out_channels'],
        num_classes=_base_.num_labels,
        min_cluster=5 if _base_.thin else 20,
    ),
)
custom_hooks = [dict(_base_.odc_hook, extract_dataloader=extract_dataloader)]
one_view = dict(num_views=[1])
if _base_.views_on_device:
    model['data_preprocessor'].update(one_view)
    train_pipeline = _base_.raw_pipeline
else:
    train_pipeline = [
        _base_.train_pipeline[0],
        dict(_base_.train_pipeline[1], **one_view),
        _base_.train_pipeline[2],
    ]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(paramwise_cfg=_base_.head_without_momentum)
train_cfg = dict(max_epochs=_base_.one_view_epochs)
