# SimCLR (Chen et al., ICML 2020): the two views of every image against all
# others of the batch. The batch is that of all methods, far below the paper's
# 4,096, so the temperature is that of its small-batch experiments (0.5).
method = dict(
    type='SimCLRBaseline',
    neck=dict(
        type='NonLinearNeck',
        in_channels=512,
        hid_channels=512,
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
method_hooks = [dict(type='SyncBuffersHook')]
