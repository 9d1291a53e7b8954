# ImageNet-1k: data/imagenet/train/<wnid>/*.JPEG, read without labels.
_base_ = 'folder.py'
data_root = 'data/imagenet/train/'
view_pipeline = [
    dict(
        type='RandomResizedCrop', size=224, scale=(0.2, 1.0), backend='pillow'
    ),
    *_base_.view_pipeline[1:],
]
train_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='SeededMultiView', views=[view_pipeline], num_views=[2]),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
extract_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='mmcls.ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
train_set = dict(type='UnlabelledFolder', data_root=data_root, scan='off')
train_dataloader = dict(
    batch_size=256,
    num_workers=16,
    dataset=dict(**train_set, pipeline=train_pipeline),
)
extract_dataloader = dict(
    num_workers=16, dataset=dict(**train_set, pipeline=extract_pipeline)
)
