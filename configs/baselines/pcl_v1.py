# PCL v1: a linear neck, a rate that drops tenfold at 60 and 80 % of the
# epochs, and for photographs the augmentation of InstDisc (Wu et al., CVPR
# 2018). Other images keep that of all methods: v1's differs from v2's in
# colours and blur, which their views do not have.
_base_ = ['pcl.py', '../_base_/augmentation/instdisc.py']
model = dict(
    neck=dict(
        _delete_=True,
        type='LinearNeck',
        in_channels=_base_.model.neck.in_channels,
        out_channels=128,
        with_avg_pool=True,
    )
)
__epochs = _base_.train_cfg.max_epochs
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=True,
        milestones=[__epochs * 3 // 5, __epochs * 4 // 5],
        gamma=0.1,
    )
]
__instdisc = _base_.pop('instdisc')
# On the device, or in the pipeline.
__views = next(
    part
    for part in (
        _base_.model.data_preprocessor,
        *_base_.train_dataloader.dataset.pipeline,
    )
    if 'views' in part
).views
if any(step.type == 'RandomGaussianBlur' for step in __views[0]):
    __views[0][1:] = __instdisc
