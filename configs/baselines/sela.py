# SeLa (Asano et al., ICLR 2020): labels of all images by optimal transport
# from the classifier's own scores, all labels equally often, are learnt by
# the classifier. One view of every image, one classifier (the paper: ten).
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__data = _base_.pop('data')
__neck, __channels = dict(type='AvgPool2dNeck'), _base_.model.neck.in_channels
if __data.thin:
    # Layers with batch norm come before the classifier, as the features of a
    # thin encoder start almost parallel.
    __neck, __channels = _base_.model.neck, 128
model = dict(
    _delete_=True,
    type='PseudoLabelClassifier',
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=__neck,
    head=dict(
        type='ClsHead',
        loss=dict(type='ClusterCrossEntropy'),
        in_channels=__channels,
        num_classes=__data.labels.sela,
    ),
)
custom_hooks = [
    dict(
        type='PseudoLabelHook',
        extract_dataloader=_base_.custom_hooks[0].extract_dataloader,
        labels=dict(type='SinkhornLabels', power=25.0),
        interval=1,
        # Labels keep their meaning from one labelling to the next.
        reset_head=False,
        uniform_sampling=False,
    )
]
__data.one_view(_base_)
