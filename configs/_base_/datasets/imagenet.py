# ImageNet-1k: data/imagenet/train/<wnid>/*.JPEG, read without labels.
_base_ = 'folder.py'
data_root = 'data/imagenet/train/'
image_size = 224
data = dict(
    images=1281167,
    **_base_.data.pipelines(
        _base_.data.photo(image_size), _base_.data.center(256, image_size)
    ),
)
# Decoded it would take a terabyte: there is no cache, and nothing to measure.
__train_set = dict(
    data_root=data_root,
    scan='off',
    **dict(_base_.data.stored(224), decoded_cache=None),
)
train_dataloader = dict(
    batch_size=256,
    num_workers=16,
    dataset=dict(__train_set, pipeline=data['train_pipeline']),
)
extract_dataloader = dict(
    num_workers=16,
    dataset=dict(__train_set, pipeline=data['extract_pipeline']),
)
