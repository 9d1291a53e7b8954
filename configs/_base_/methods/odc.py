# ODC (Zhan et al., CVPR 2020): clusters of all images that change in every
# step. One view of every image. No Sobel filter: the backbone is that of all
# methods. in_channels, num_classes and length fit the 512 channels of a
# ResNet-18 and the 38,400 images of mini-ImageNet, at the paper's 128 images
# per cluster.
method = dict(
    type='OnlineDeepClustering',
    neck=dict(
        type='ODCNeck',
        in_channels=512,
        hid_channels=512,
        out_channels=256,
        with_avg_pool=True,
        norm_cfg=dict(type='BN1d'),
    ),
    head=dict(
        type='ClsHead',
        loss=dict(type='ClusterCrossEntropy'),
        in_channels=256,
        num_classes=300,
    ),
    memory_bank=dict(
        type='OnlineClusteringMemory',
        length=38400,
        feat_dim=256,
        num_classes=300,
        momentum=0.5,
        min_cluster=20,
    ),
)
odc_hook = dict(
    type='OnlineClusteringHook',
    labels=dict(type='KMeansLabels', pca_dim=None, n_iter=20),
    centroids_interval=10,
    small_clusters_interval=1,
    reweight=True,
    reweight_pow=0.5,
)
# For thin encoders, whose features start almost parallel: centred features
# without dropout, or an image would be labelled anew by chance in every step.
thin_neck = dict(
    type='NonLinearNeck',
    in_channels=64,
    hid_channels=128,
    out_channels=128,
    num_layers=2,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_avg_pool=True,
    norm_cfg=dict(type='BN1d'),
)
# As published: the classifier learns without momentum.
head_without_momentum = dict(custom_keys=dict(head=dict(momentum=0.0)))
