# ODC (Zhan et al., CVPR 2020): clusters of all images that change in every
# step. One view of every image. No Sobel filter: the backbone is that of all
# methods.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__data = _base_.pop('data')
__neck = dict(
    type='ODCNeck',
    in_channels=_base_.model.neck.in_channels,
    hid_channels=512,
    out_channels=256,
    with_avg_pool=True,
    norm_cfg=dict(type='BN1d'),
)
if __data.thin:
    # The features of a thin encoder start almost parallel: here they are
    # centred, without dropout; with it every step would give an image another
    # label by chance.
    __neck = dict(
        type='NonLinearNeck',
        in_channels=_base_.model.neck.in_channels,
        hid_channels=128,
        out_channels=128,
        num_layers=2,
        with_last_bn=True,
        with_last_bn_affine=False,
        with_avg_pool=True,
        norm_cfg=dict(type='BN1d'),
    )
model = dict(
    _delete_=True,
    type='OnlineDeepClustering',
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    neck=__neck,
    head=dict(
        type='ClsHead',
        loss=dict(type='ClusterCrossEntropy'),
        in_channels=__neck['out_channels'],
        num_classes=__data.labels.odc,
    ),
    memory_bank=dict(
        type='OnlineClusteringMemory',
        length=__data.images,
        feat_dim=__neck['out_channels'],
        num_classes=__data.labels.odc,
        momentum=0.5,
        # Published: 20. Clusters of few images are smaller on average.
        min_cluster=5 if __data.thin else 20,
    ),
)
custom_hooks = [
    dict(
        type='OnlineClusteringHook',
        extract_dataloader=_base_.custom_hooks[0].extract_dataloader,
        labels=dict(type='KMeansLabels', pca_dim=None, n_iter=20),
        centroids_interval=10,
        small_clusters_interval=1,
        reweight=True,
        reweight_pow=0.5,
    )
]
__data.one_view(_base_)
# As published: the classifier learns without momentum.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(head=dict(momentum=0.0)))
)
train_cfg = dict(
    max_epochs=__data.get('one_view_epochs', _base_.train_cfg.max_epochs)
)
