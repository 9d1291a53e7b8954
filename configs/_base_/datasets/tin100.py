# TIN-100 at its own 64 px, by the class split; 200 and 50 images of a class
# are references and queries.
_base_ = 'mini_imagenet.py'
data_root = 'data/tin100/'

view_pipeline = [
    dict(
        type='RandomResizedCrop', size=64, scale=(0.2, 1.0), backend='pillow'
    ),
    *_base_.view_pipeline[1:],
]
train_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='SeededMultiView', views=[view_pipeline], num_views=[2]),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
extract_pipeline = [_base_.extract_pipeline[0], _base_.extract_pipeline[-1]]
reference_pipeline = [
    _base_.reference_pipeline[0],
    *_base_.reference_pipeline[-2:],
]
query_pipeline = [_base_.query_pipeline[0], *_base_.query_pipeline[-2:]]

train_set = dict(type='MiniImageNet', data_root=data_root, split='train')
val_set = dict(type='MiniImageNet', data_root=data_root, split='val')
test_set = dict(type='MiniImageNet', data_root=data_root, split='test')
train_dataloader = dict(dataset=dict(**train_set, pipeline=train_pipeline))
extract_dataloader = dict(dataset=dict(**train_set, pipeline=extract_pipeline))
val_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(**val_set, image_part='train', pipeline=reference_pipeline),
            dict(**val_set, image_part='test', pipeline=query_pipeline),
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(**test_set, image_part='train', pipeline=reference_pipeline),
            dict(**test_set, image_part='test', pipeline=query_pipeline),
        ]
    )
)
