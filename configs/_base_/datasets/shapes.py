# Rendered shapes with a known three-level hierarchy: 4 families, 12 shapes,
# 36 marks.
_base_ = 'digits.py'
image_size = 32
data = dict(
    images=3000,
    classes=36,
    **_base_.data.pipelines(
        [
            # Where a shape stands, how large and how it is turned tells the
            # images apart and nothing of their classes. The crop is of the
            # whole image, as a smaller one cuts marks off; small views, where
            # a method has them, are made of it.
            _base_.data.crop(image_size, (1.0, 1.0)),
            dict(
                type='RandomAffine',
                degrees=45.0,
                translate=(0.1, 0.1),
                scale=(0.8, 1.25),
            ),
            dict(type='RandomFlip', prob=0.5),
            # So do colours, and what is brighter than what.
            dict(type='ChannelMix'),
        ],
        [dict(type='ChannelMix', weights=(0.114, 0.587, 0.299))],
    ),
)
__train_set = dict(
    type='HierarchicalShapes',
    num_images=3000,
    img_size=image_size,
    nuisance=0.25,
)
__test_set = dict(__train_set, num_images=900, split='test')
train_dataloader = dict(
    dataset=dict(__train_set, pipeline=data['train_pipeline'], _delete_=True),
)
extract_dataloader = dict(
    dataset=dict(__train_set, pipeline=data['extract_pipeline'], _delete_=True)
)
val_dataloader = dict(dataset=_base_.data.pair(data, __train_set, __test_set))
test_dataloader = val_dataloader
test_evaluator = [
    dict(type='KNNMetric', k=20),
    dict(type='ClusterMetric', num_clusters=36),
]
