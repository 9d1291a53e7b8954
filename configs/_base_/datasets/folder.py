# A plain folder of images: any nesting, no labels, no list files.
_base_ = 'photos.py'
data_root = 'data/my_images/'
image_size = 84
# Width times height of the largest image that is no trap; None for Pillow's.
max_pixels = None
data = dict(
    _base_.data.pipelines(
        _base_.data.photo(image_size), _base_.data.center(96, image_size)
    )
)
__train_set = dict(
    type='UnlabelledFolder',
    data_root=data_root,
    max_pixels=max_pixels,
    **_base_.data.stored(image_size),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(__train_set, pipeline=data['train_pipeline']),
)
extract_dataloader = dict(
    num_workers=2,
    dataset=dict(__train_set, pipeline=data['extract_pipeline']),
)
# Without labels there is nothing to validate.
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None
