# SimCLR (Chen et al., ICML 2020): the two views of every image against all
# others of the batch, which is that of all methods. The temperature is that of
# the paper's CIFAR-10 experiments.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
model = dict(
    _delete_=True,
    type='SimCLRBaseline',
    # Over the whole batch, as in the paper: the two views of an image must not
    # find each other by the statistics of their part.
    backbone=dict(_base_.model.backbone, norm_cfg=dict(type='BN')),
    data_preprocessor=_base_.model.data_preprocessor,
    neck=dict(
        type='NonLinearNeck',
        in_channels=_base_.model.neck.in_channels,
        hid_channels=_base_.model.neck.hid_channels,
        out_channels=128,
        num_layers=2,
        with_last_bn=False,
        with_avg_pool=True,
        norm_cfg=dict(type='BN1d'),
    ),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='mmcls.CrossEntropyLoss'),
        temperature=0.5,
    ),
)
# All ranks end an epoch with the same running statistics of batch norm.
custom_hooks = [dict(type='SyncBuffersHook')]
