# MoCo v2 (Chen et al., arXiv:2003.04297): momentum contrast with a queue, what
# AHPCL is without prototypes. Queue, momentum and neck are those of AHPCL's
# model of the same data.
method = dict(
    type='MoCoBaseline',
    queue_len=1024,
    feat_dim=128,
    momentum=0.999,
    neck=dict(
        type='MoCoV2Neck',
        in_channels=512,
        hid_channels=512,
        out_channels=128,
        with_avg_pool=True,
    ),
    head=dict(
        type='ContrastiveHead',
        loss=dict(type='mmcls.CrossEntropyLoss'),
        temperature=0.2,
    ),
)
# All ranks end an epoch with the same running statistics of batch norm.
method_hooks = [dict(type='SyncBuffersHook')]
