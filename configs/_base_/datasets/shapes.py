# Rendered shapes with a known three-level hierarchy: 4 families, 12 shapes,
# 36 marks.
_base_ = 'digits.py'
view_pipeline = [
    dict(
        type='RandomResizedCrop', size=32, scale=(0.7, 1.0), backend='pillow'
    ),
    dict(
        type='SafeColorJitter',
        # Colours tell the images apart and nothing of their classes.
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.5,
    ),
    dict(
        type='RandomGrayscale',
        prob=0.5,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='SeededMultiView', views=[view_pipeline], num_views=[2]),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
train_set = dict(
    type='HierarchicalShapes', num_images=3000, img_size=32, nuisance=0.25
)
test_set = dict(
    type='HierarchicalShapes',
    num_images=900,
    img_size=32,
    nuisance=0.25,
    split='test',
)
train_dataloader = dict(
    dataset=dict(**train_set, pipeline=train_pipeline, _delete_=True),
)
extract_dataloader = dict(
    dataset=dict(**train_set, pipeline=_base_.extract_pipeline, _delete_=True)
)
val_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(**train_set, pipeline=_base_.reference_pipeline),
            dict(**test_set, pipeline=_base_.query_pipeline),
        ]
    )
)
test_dataloader = val_dataloader
test_evaluator = [
    dict(type='KNNMetric', k=20),
    dict(type='ClusterMetric', num_clusters=36),
]
