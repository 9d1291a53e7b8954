# TIN-100 at its own 64 px, by the class split; 200 and 50 images of a class
# are references and queries.
_base_ = 'mini_imagenet.py'
data_root = 'data/tin100/'
image_size = 64
data = dict(
    images=16000, **_base_.data.pipelines(_base_.data.photo(image_size))
)
__sets = _base_.data.splits(data, data_root)
train_dataloader = dict(dataset=__sets['train'])
extract_dataloader = dict(dataset=__sets['extract'])
val_dataloader = dict(dataset=__sets['val'])
test_dataloader = dict(dataset=__sets['test'])
