# SimCLR (Chen et al., ICML 2020): the two views of every image against all
# others of the batch, which is that of all methods. The temperature is that of
# the paper's CIFAR-10 experiments.
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
