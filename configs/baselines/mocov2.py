# MoCo v2 (Chen et al., arXiv:2003.04297): momentum contrast with a queue, what
# AHPCL is without prototypes. Queue, momentum and neck are those of AHPCL's
# model of the same data.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
model = dict(
    _delete_=True,
    type='MoCoBaseline',
    queue_len=_base_.model.queue_len,
    feat_dim=128,
    momentum=_base_.model.momentum,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=_base_.model.neck,
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='mmcls.CrossEntropyLoss'),
        temperature=0.2,
    ),
)
# All ranks end an epoch with the same running statistics of batch norm.
custom_hooks = [dict(type='SyncBuffersHook')]
