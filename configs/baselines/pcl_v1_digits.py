# PCL v1 on the digits: a linear neck, and a rate that drops tenfold at 60 and
# 80 % of the epochs. The augmentation is that of all methods: v1's differs
# from v2's in colours and blur, which these views do not have.
_base_ = 'pcl_digits.py'
model = dict(
    neck=dict(
        _delete_=True,
        type='LinearNeck',
        in_channels=64,
        out_channels=128,
        with_avg_pool=True,
    )
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[18, 24], gamma=0.1)
]
