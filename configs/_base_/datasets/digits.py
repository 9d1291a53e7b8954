# scikit-learn's 1,797 digits, which come with it: no download.
view_pipeline = [
    dict(
        type='RandomResizedCrop', size=16, scale=(0.6, 1.0), backend='pillow'
    ),
    dict(type='mmcls.Rotate', angle=15.0, pad_val=0, prob=0.5),
    dict(type='SafeColorJitter', brightness=0.4, contrast=0.4),
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
extract_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx']),
]
reference_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='SetRole', role='reference'),
    dict(
        type='PackSelfSupInputs',
        algorithm_keys=['sample_idx', 'gt_label'],
        meta_keys=['role'],
    ),
]
query_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='SetRole', role='query'),
    dict(
        type='PackSelfSupInputs',
        algorithm_keys=['sample_idx', 'gt_label'],
        meta_keys=['role'],
    ),
]

train_set = dict(type='Digits', img_size=16, split='train')
test_set = dict(type='Digits', img_size=16, split='test')

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='collate_batches'),
    dataset=dict(**train_set, pipeline=train_pipeline),
)
extract_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='collate_batches'),
    dataset=dict(**train_set, pipeline=extract_pipeline),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(**train_set, pipeline=reference_pipeline),
            dict(**test_set, pipeline=query_pipeline),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='KNNMetric', k=20)]
test_evaluator = [
    dict(type='KNNMetric', k=20),
    dict(type='ClusterMetric', num_clusters=10),
    # One label per class, all other test images to classify.
    dict(type='FewShotMetric', ways=10, shots=1, queries=None, episodes=500),
]
val_cfg = dict()
test_cfg = dict()
# A mirrored digit is none.
evaluation = dict(semisup=[dict(type='FineTuneMetric', flip=False)])
