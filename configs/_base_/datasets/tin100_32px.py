# TIN-100 at 32 px, 75 images of each of the 64 training classes: for a CPU.
_base_ = 'tin100.py'
train_set = dict(_base_.train_set, limit=4800)
view_pipeline = [
    dict(
        type='RandomResizedCrop', size=32, scale=(0.2, 1.0), backend='pillow'
    ),
    *_base_.view_pipeline[1:],
]
train_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='SeededMultiView', views=[view_pipeline], num_views=[2]),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
resize = dict(type='Resize', scale=(32, 32), backend='pillow')
extract_pipeline = [
    _base_.extract_pipeline[0],
    resize,
    _base_.extract_pipeline[1],
]
reference_pipeline = [
    _base_.reference_pipeline[0],
    resize,
    *_base_.reference_pipeline[1:],
]
query_pipeline = [
    _base_.query_pipeline[0],
    resize,
    *_base_.query_pipeline[1:],
]
train_dataloader = dict(
    num_workers=1,
    pin_memory=False,
    dataset=dict(**train_set, pipeline=train_pipeline),
)
extract_dataloader = dict(
    num_workers=1, dataset=dict(**train_set, pipeline=extract_pipeline)
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        datasets=[
            dict(
                **_base_.val_set,
                image_part='train',
                pipeline=reference_pipeline,
            ),
            dict(**_base_.val_set, image_part='test', pipeline=query_pipeline),
        ]
    ),
)
test_dataloader = dict(
    num_workers=1,
    dataset=dict(
        datasets=[
            dict(
                **_base_.test_set,
                image_part='train',
                pipeline=reference_pipeline,
            ),
            dict(
                **_base_.test_set, image_part='test', pipeline=query_pipeline
            ),
        ]
    ),
)
