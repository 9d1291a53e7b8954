# mini-ImageNet at 84 px: pre-training on the 64 classes of train.csv without
# labels, kNN on the 16 classes of val.csv, the test on the 20 of test.csv.
data_root = 'data/mini-imagenet/'

view_pipeline = [
    dict(
        type='RandomResizedCrop', size=84, scale=(0.2, 1.0), backend='pillow'
    ),
    dict(
        type='RandomApply',
        transforms=[
            dict(
                type='SafeColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1,
            )
        ],
        prob=0.8,
    ),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(type='RandomGaussianBlur', sigma_min=0.1, sigma_max=2.0, prob=0.5),
    dict(type='RandomFlip', prob=0.5),
]
# For views that are made on the device (DeviceViews).
raw_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
train_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='SeededMultiView', views=[view_pipeline], num_views=[2]),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
center_crop = [
    dict(type='LoadImageBGR'),
    dict(type='mmcls.ResizeEdge', scale=96, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=84),
]
extract_pipeline = [
    *center_crop,
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
reference_pipeline = [
    *center_crop,
    dict(type='SetRole', role='reference'),
    dict(
        type='PackSelfSupInputs',
        algorithm_keys=['sample_idx', 'gt_label'],
        meta_keys=['role'],
    ),
]
query_pipeline = [
    *center_crop,
    dict(type='SetRole', role='query'),
    dict(
        type='PackSelfSupInputs',
        algorithm_keys=['sample_idx', 'gt_label'],
        meta_keys=['role'],
    ),
]

train_set = dict(type='MiniImageNet', data_root=data_root, split='train')
val_set = dict(type='MiniImageNet', data_root=data_root, split='val')
test_set = dict(type='MiniImageNet', data_root=data_root, split='test')

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='collate_batches'),
    dataset=dict(**train_set, pipeline=train_pipeline),
)
extract_dataloader = dict(
    batch_size=512,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='collate_batches'),
    dataset=dict(**train_set, pipeline=extract_pipeline),
)
val_dataloader = dict(
    batch_size=512,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(**val_set, image_part='train', pipeline=reference_pipeline),
            dict(**val_set, image_part='test', pipeline=query_pipeline),
        ],
    ),
)
test_dataloader = dict(
    batch_size=512,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(**test_set, image_part='train', pipeline=reference_pipeline),
            dict(**test_set, image_part='test', pipeline=query_pipeline),
        ],
    ),
)
val_evaluator = [dict(type='KNNMetric', k=20)]
test_evaluator = [
    dict(type='KNNMetric', k=20),
    dict(type='FewShotMetric', ways=5, shots=1),
    dict(type='FewShotMetric', ways=5, shots=5),
    dict(type='ClusterMetric'),
]
val_cfg = dict()
test_cfg = dict()
