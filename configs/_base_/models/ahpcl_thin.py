# A thin ResNet-18 with a 3 x 3 stem for small images and for the CPU. Its
# batch norm works on parts of the batch, as there is one device only.
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
        out_indices=(3,),
        norm_cfg=dict(type='SplitBN', num_splits=4),
    ),
    neck=dict(in_channels=128, hid_channels=128),
)
