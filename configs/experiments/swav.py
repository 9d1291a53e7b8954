# SwAV: two views and small crops.
_base_ = ['multi_crop.py', '../_base_/methods/swav.py']
neck = _base_.thin_neck if _base_.thin else _base_.method.neck
loss = _base_.thin_loss if _base_.thin else _base_.method.head.loss
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=dict(neck, in_channels=_base_.channels),
    head=dict(
        type='SwAVHead',
        loss=dict(
            loss,
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
