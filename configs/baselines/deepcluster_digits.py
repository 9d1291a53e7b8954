# DeepCluster on the digits: 100 clusters, ten per class.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/deepcluster.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    # Layers with batch norm before the classifier: the features of a thin
    # encoder start almost parallel.
    neck=_base_.model.neck,
    head=dict(_base_.method.head, in_channels=128, num_classes=100),
)
custom_hooks = [
    dict(_base_.label_hook, extract_dataloader=_base_.extract_dataloader)
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[1], num_views=[1]),
    _base_.train_pipeline[2],
]
train_dataloader = dict(
    sampler=dict(_delete_=True, type='UniformClusterSampler'),
    dataset=dict(pipeline=train_pipeline),
)
# A new classifier has 22 steps to learn 100 clusters.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(head=dict(momentum=0.0, lr_mult=10.0)))
)
