# DeepCluster (Caron et al., ECCV 2018): k-means of the features of all images
# before every epoch, whose clusters are then learnt by a classifier. One view
# of every image. No Sobel filter: the backbone is that of all methods.
# in_channels and num_classes fit the 512 channels of a ResNet-18 and the
# 38,400 images of mini-ImageNet, at the paper's 128 images per cluster.
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
    labels=dict(type='KMeansLabels', pca_dim=256, n_iter=20),
    interval=1,
    reset_head=True,
    uniform_sampling=True,
    reweight=False,
)
# The classifier starts anew in every epoch and learns without momentum.
head_without_momentum = dict(custom_keys=dict(head=dict(momentum=0.0)))
