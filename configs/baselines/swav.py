# SwAV (Caron et al., NeurIPS 2020): codes of two views, made by Sinkhorn so
# that all prototypes are used equally often, are predicted from the other
# views, small crops among them.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__data = _base_.pop('data')
__neck = dict(
    type='SwAVNeck',
    in_channels=_base_.model.neck.in_channels,
    hid_channels=512,
    out_channels=128,
    with_avg_pool=True,
    norm_cfg=dict(type='BN1d'),
)
__epsilon = 0.05
if __data.thin:
    # The features of a thin encoder start almost parallel: a last batch norm
    # centres them, and they have few dimensions. As in the paper there are
    # several times more prototypes than dimensions; else features can hide
    # from all of them. Without these the codes stayed uniform on the digits.
    __neck = dict(
        type='NonLinearNeck',
        in_channels=_base_.model.neck.in_channels,
        hid_channels=128,
        out_channels=32,
        num_layers=2,
        with_last_bn=True,
        with_last_bn_affine=False,
        with_avg_pool=False,
        norm_cfg=dict(type='BN1d'),
    )
    __epsilon = 0.01
model = dict(
    _delete_=True,
    type='SwAVBaseline',
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=__neck,
    head=dict(
        type='SwAVHead',
        loss=dict(
            type='SwappedPredictionLoss',
            feat_dim=__neck['out_channels'],
            num_prototypes=__data.labels.swav,
            sinkhorn_iterations=3,
            epsilon=__epsilon,
            temperature=0.1,
            queue_len=__data.swav.queue_len,
            codes='soft',
        ),
    ),
)
# The published runs start the queue after 15 of 200 to 400 epochs and keep
# the prototypes fixed for 313 to 5,005 iterations.
custom_hooks = [
    dict(
        type='SwAVScheduleHook',
        queue_start_epoch=__data.swav.queue_start_epoch,
        freeze_iters=__data.swav.freeze_iters,
    )
]
if 'lr' in __data.swav:
    _base_.optim_wrapper.optimizer.lr = __data.swav.lr
__data.add_small_views(_base_, __data)
