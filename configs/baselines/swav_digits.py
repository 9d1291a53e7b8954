# SwAV on the digits: two views of 16 px and 4 small crops of 10 px.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/swav.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=_base_.thin_neck,
    head=dict(
        type='SwAVHead',
        loss=dict(_base_.method.head.loss, num_prototypes=60, queue_len=256),
    ),
)
custom_hooks = [
    dict(_base_.method_hooks[0], queue_start_epoch=3, freeze_iters=44)
]
small_view = [
    dict(
        type='RandomResizedCrop', size=10, scale=(0.3, 0.6), backend='pillow'
    ),
    *_base_.view_pipeline[1:],
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        type='SeededMultiView',
        views=[_base_.view_pipeline, small_view],
        num_views=[2, 4],
    ),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
