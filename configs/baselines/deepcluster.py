# DeepCluster (Caron et al., ECCV 2018): k-means of the features of all images
# before every epoch, whose clusters are then learnt by a classifier. One view
# of every image. No Sobel filter: the backbone is that of all methods.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__data = _base_.pop('data')
# The classifier starts again in every epoch and learns without momentum.
__classifier = dict(momentum=0.0)
__neck, __channels = dict(type='AvgPool2dNeck'), _base_.model.neck.in_channels
if __data.thin:
    # Layers with batch norm come before the classifier, as the features of a
    # thin encoder start almost parallel; and a new classifier has few steps to
    # learn many clusters.
    __neck, __channels = _base_.model.neck, 128
    __classifier.update(lr_mult=10.0)
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
        num_classes=__data.labels.deepcluster,
    ),
)
custom_hooks = [
    dict(
        type='PseudoLabelHook',
        extract_dataloader=_base_.custom_hooks[0].extract_dataloader,
        labels=dict(type='KMeansLabels', pca_dim=256, n_iter=20),
        interval=1,
        reset_head=True,
        uniform_sampling=True,
        reweight=False,
    )
]
__data.one_view(_base_)
_base_.train_dataloader.sampler = dict(type='UniformClusterSampler')
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=__classifier)))
train_cfg = dict(
    max_epochs=__data.get('one_view_epochs', _base_.train_cfg.max_epochs)
)
