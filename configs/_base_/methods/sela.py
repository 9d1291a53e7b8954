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
