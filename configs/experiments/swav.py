# SwAV: two views, and two small crops in place of the published six.
_base_ = ['ahpcl.py', '../_base_/methods/swav.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=dict(_base_.thin_neck, in_channels=_base_.channels),
    head=dict(
        type='SwAVHead',
        loss=dict(
            _base_.thin_loss,
            num_prototypes=_base_.num_labels,
            queue_len=_base_.swav_queue_len,
        ),
    ),
)
custom_hooks = [
    dict(
        _base_.method_hooks[0],
        queue_start_epoch=_base_.warmup_epochs,
        freeze_iters=_base_.num_images // 64,
    )
]
small_view = [
    dict(
        type='RandomResizedCrop',
        size=_base_.small_size,
        scale=(0.05, 0.2),
        backend='pillow',
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
