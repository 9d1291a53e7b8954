# DeepCluster: one view of every image. A thin encoder has the neck and the
# rate of the classifier of the other thin configs.
_base_ = ['ahpcl.py', '../_base_/methods/deepcluster.py']
extract_dataloader = _base_.custom_hooks[0].extract_dataloader
neck = _base_.model.neck if _base_.thin else _base_.method.neck
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=dict(_base_.model.data_preprocessor),
    neck=neck,
    head=dict(
        _base_.method.head,
        in_channels=128 if _base_.thin else _base_.channels,
        num_classes=_base_.num_labels,
    ),
)
custom_hooks = [dict(_base_.label_hook, extract_dataloader=extract_dataloader)]
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
train_dataloader = dict(
    sampler=dict(_delete_=True, type='UniformClusterSampler'),
    dataset=dict(pipeline=train_pipeline),
)
rate = dict(lr_mult=10.0) if _base_.thin else dict()
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(head=dict(momentum=0.0, **rate)))
)
train_cfg = dict(max_epochs=_base_.one_view_epochs)
