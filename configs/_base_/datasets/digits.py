# scikit-learn's 1,797 digits, which come with it: no download.
_base_ = 'images.py'
image_size = 16
data = dict(
    images=1442,
    classes=10,
    **_base_.data.pipelines(
        [
            _base_.data.crop(image_size, (0.6, 1.0)),
            dict(type='mmcls.Rotate', angle=15.0, pad_val=0, prob=0.5),
            dict(type='SafeColorJitter', brightness=0.4, contrast=0.4),
        ]
    ),
)
__train_set = dict(type='Digits', img_size=image_size, split='train')
__test_set = dict(__train_set, split='test')
train_dataloader = dict(
    batch_size=64,
    # They are in memory, a batch is taken out in one piece.
    num_workers=0,
    persistent_workers=False,
    dataset=dict(__train_set, pipeline=data['train_pipeline']),
)
extract_dataloader = dict(
    batch_size=256,
    num_workers=0,
    dataset=dict(__train_set, pipeline=data['extract_pipeline']),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    dataset=_base_.data.pair(data, __train_set, __test_set),
)
test_dataloader = val_dataloader
test_evaluator = [
    dict(type='KNNMetric', k=20),
    dict(type='ClusterMetric', num_clusters=10),
    # One label per class, all other test images to classify.
    dict(type='FewShotMetric', ways=10, shots=1, queries=None, episodes=500),
]
# A mirrored digit is no digit.
evaluation = dict(semisup=[dict(type='FineTuneMetric', flip=False)])
