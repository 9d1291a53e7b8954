# DeepCluster on mini-ImageNet: 300 clusters of 128 images on average.
_base_ = ['../ahpcl_minin.py', '../_base_/methods/deepcluster.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
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
optim_wrapper = dict(paramwise_cfg=_base_.head_without_momentum)
