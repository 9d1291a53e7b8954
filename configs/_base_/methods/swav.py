# SwAV (Caron et al., NeurIPS 2020): codes of two views, made by Sinkhorn so
# that all prototypes are used equally often, are predicted from the other
# views, small crops among them. in_channels fits a ResNet-18.
method = dict(
    type='SwAVBaseline',
    neck=dict(
        type='SwAVNeck',
        in_channels=512,
        hid_channels=512,
        out_channels=128,
        with_avg_pool=True,
        norm_cfg=dict(type='BN1d'),
    ),
    head=dict(
        type='SwAVHead',
        loss=dict(
            type='SwappedPredictionLoss',
            feat_dim=128,
            num_prototypes=300,
            sinkhorn_iterations=3,
            epsilon=0.05,
            temperature=0.1,
            queue_len=1024,
            codes='soft',
        ),
    ),
)
# The published runs start the queue after 15 of 200 to 400 epochs and keep
# the prototypes fixed for 313 to 5,005 iterations.
method_hooks = [
    dict(type='SwAVScheduleHook', queue_start_epoch=15, freeze_iters=300)
]
# For thin encoders, whose features start almost parallel: centred by a last
# batch norm, and few dimensions. As in the paper there are several times more
# prototypes than dimensions; else features can hide from all of them. Without
# these the codes stayed uniform on the digits.
thin_neck = dict(
    type='NonLinearNeck',
    in_channels=64,
    hid_channels=128,
    out_channels=32,
    num_layers=2,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_avg_pool=False,
    norm_cfg=dict(type='BN1d'),
)
thin_loss = dict(
    method['head']['loss'],
    feat_dim=32,
    num_prototypes=100,
    epsilon=0.01,
    queue_len=256,
)
