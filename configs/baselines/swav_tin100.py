# SwAV on TIN-100: two views of 64 px and 6 small crops of 32 px.
_base_ = ['../ahpcl_tin100.py', '../_base_/methods/swav.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    head=dict(
        type='SwAVHead',
        loss=dict(_base_.method.head.loss, num_prototypes=300, queue_len=1024),
    ),
)
custom_hooks = [
    dict(_base_.method_hooks[0], queue_start_epoch=15, freeze_iters=300)
]
small_view = [
    dict(
        type='RandomResizedCrop', size=32, scale=(0.05, 0.2), backend='pillow'
    ),
    *_base_.view_pipeline[1:],
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        type='SeededMultiView',
        views=[_base_.view_pipeline, small_view],
        num_views=[2, 6],
    ),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
