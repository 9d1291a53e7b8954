# CIFAR-10 in class folders (tools/dataset_converters/cifar10.py makes them),
# at its own 32 px: train/<class>/0000 to 4999, test/<class>/0000 to 0999.
#
# Training sees the first 2,000 images of every class; the last 500, which it
# never sees, are for validation, and the folder test for the test.
_base_ = 'mini_imagenet.py'
data_root = 'data/cifar10/'

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
extract_pipeline = [_base_.extract_pipeline[0], _base_.extract_pipeline[-1]]
reference_pipeline = [
    _base_.reference_pipeline[0],
    *_base_.reference_pipeline[-2:],
]
query_pipeline = [_base_.query_pipeline[0], *_base_.query_pipeline[-2:]]

images = dict(
    type='UnlabelledFolder',
    data_root=data_root + 'train/',
    labels_from_folders=True,
    decoded_cache='auto',
)
train_set = dict(**images, per_class=(0, 2000))
val_set = dict(**images, per_class=(4500, 5000))
test_set = dict(images, data_root=data_root + 'test/')
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=128,
    pin_memory=False,
    **in_process,
    dataset=dict(_delete_=True, **train_set, pipeline=train_pipeline),
)
extract_dataloader = dict(
    batch_size=512,
    **in_process,
    collate_fn=dict(type='collate_batches'),
    dataset=dict(_delete_=True, **train_set, pipeline=extract_pipeline),
)
references = dict(**train_set, pipeline=reference_pipeline)
val_dataloader = dict(
    batch_size=512,
    **in_process,
    dataset=dict(
        datasets=[references, dict(**val_set, pipeline=query_pipeline)]
    ),
)
test_dataloader = dict(
    batch_size=512,
    **in_process,
    dataset=dict(
        datasets=[references, dict(**test_set, pipeline=query_pipeline)]
    ),
)
