# PCL v1 on mini-ImageNet: a linear neck, a rate that drops tenfold at epochs
# 120 and 160, and the augmentation of InstDisc (Wu et al., CVPR 2018).
_base_ = 'pcl_minin.py'
model = dict(
    neck=dict(
        _delete_=True,
        type='LinearNeck',
        in_channels=512,
        out_channels=128,
        with_avg_pool=True,
    )
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[120, 160], gamma=0.1)
]
view_pipeline = [
    dict(
        type='RandomResizedCrop', size=84, scale=(0.2, 1.0), backend='pillow'
    ),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(
        type='SafeColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.4,
    ),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='SeededMultiView', views=[view_pipeline], num_views=[2]),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
