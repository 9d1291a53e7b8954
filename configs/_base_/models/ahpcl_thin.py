# A thin ResNet with a 3 x 3 stem and three stages, for small images and for
# the CPU. Its batch norm works on parts of the batch, as there is one device
# only.
_base_ = 'ahpcl_r18.py'
model = dict(
    queue_len=1024,
    momentum=0.99,
    backbone=dict(
        _delete_=True,
        type='mmcls.ResNet_CIFAR',
        depth=18,
        stem_channels=16,
        base_channels=16,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        norm_cfg=dict(type='SplitBN', num_splits=4),
    ),
    # Batch norm in the neck, too: the features of a small encoder start
    # almost parallel, and without it a short training does not part them.
    neck=dict(
        _delete_=True,
        type='NonLinearNeck',
        in_channels=64,
        hid_channels=128,
        out_channels=128,
        num_layers=2,
        with_last_bn=False,
        with_avg_pool=True,
        norm_cfg=dict(type='SplitBN', num_splits=4),
    ),
)
