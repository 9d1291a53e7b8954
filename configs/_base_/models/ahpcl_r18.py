# ResNet-18 with the ImageNet stem and the method's recipe.
model = dict(
    type='AHPCL',
    queue_len=1024,
    feat_dim=128,
    momentum=0.999,
    data_preprocessor=dict(
        type='ViewPreprocessor',
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        in_channels=3,
        out_indices=[4],  # 0: conv-1, x: stage-x
        norm_cfg=dict(type='BN'),
    ),
    neck=dict(
        type='MoCoV2Neck',
        in_channels=512,
        hid_channels=512,
        out_channels=128,
        with_avg_pool=True,
    ),
    head=dict(
        type='HPCLHead',
        loss_inst=dict(type='InfoNCELoss', temperature=0.2),
        loss_proto=dict(
            type='ProtoNCELoss', negatives='unique', num_negatives=None
        ),
        proto_weight=1.0,
    ),
)
