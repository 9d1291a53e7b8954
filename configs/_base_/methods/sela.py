# SeLa (Asano et al., ICLR 2020): labels of all images by optimal transport
# from the classifier's own scores, all labels equally often, are learnt by
# the classifier. One view of every image, one classifier (the paper: ten).
method = dict(
    type='PseudoLabelClassifier',
    neck=dict(type='AvgPool2dNeck'),
    head=dict(
        type='ClsHead',
        loss=dict(type='ClusterCrossEntropy'),
        in_channels=512,
        num_classes=300,
    ),
)
label_hook = dict(
    type='PseudoLabelHook',
    labels=dict(type='SinkhornLabels', power=25.0),
    interval=1,
    # Labels keep their meaning from one labelling to the next.
    reset_head=False,
    uniform_sampling=False,
)
# For thin encoders, whose features start almost parallel.
thin_neck = dict(
    type='NonLinearNeck',
    in_channels=64,
    hid_channels=128,
    out_channels=128,
    num_layers=2,
    with_last_bn=False,
    with_avg_pool=True,
    norm_cfg=dict(type='SplitBN', num_splits=4),
)
