# SwAV on the digits: two views of 16 px and 2 small crops of 10 px.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/swav.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=_base_.thin_neck,
    head=dict(
        type='SwAVHead',
        loss=_base_.thin_loss,
    ),
)
custom_hooks = [
    dict(_base_.method_hooks[0], queue_start_epoch=3, freeze_iters=22)
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
        num_views=[2, 2],
    ),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# The rate of the other methods took longer to leave uniform codes.
optim_wrapper = dict(optimizer=dict(lr=0.05))
