# PCL v1 on mini-ImageNet: a linear neck, a rate that drops tenfold at epochs
# 120 and 160, and the augmentation of InstDisc (Wu et al., CVPR 2018).
_base_ = ['pcl_minin.py', '../_base_/augmentation/instdisc_84px.py']
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
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='SeededMultiView', views=[_base_.instdisc_views], num_views=[2]),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
