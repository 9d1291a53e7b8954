# mini-ImageNet at 84 px: pre-training on the 64 classes of train.csv without
# labels, kNN on the 16 classes of val.csv, the test on the 20 of test.csv.
_base_ = 'photos.py'
data_root = 'data/mini-imagenet/'
image_size = 84


def __splits(data, data_root, stored=None, **limits):
    """The data sets of all loaders; `limits` are those of the training."""
    stored = stored or dict(decoded_cache='auto')

    def split(name, **more):
        return dict(
            type='MiniImageNet',
            data_root=data_root,
            split=name,
            **stored,
            **more,
        )

    def pair(name):
        parts = (split(name, image_part=part) for part in ('train', 'test'))
        return _base_.data.pair(data, *parts)

    train = split('train', **limits)
    return dict(
        train=dict(train, pipeline=data['train_pipeline']),
        extract=dict(train, pipeline=data['extract_pipeline']),
        val=pair('val'),
        test=pair('test'),
    )


data = dict(
    images=38400,
    classes=64,
    splits=__splits,
    **_base_.data.pipelines(
        _base_.data.photo(image_size), _base_.data.center(96, image_size)
    ),
)
__sets = __splits(data, data_root, _base_.data.stored(84))
train_dataloader = dict(dataset=__sets['train'])
extract_dataloader = dict(dataset=__sets['extract'])
val_dataloader = dict(dataset=__sets['val'])
test_dataloader = dict(dataset=__sets['test'])
