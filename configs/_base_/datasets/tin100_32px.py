# TIN-100 at 32 px, 75 images of each of the 64 training classes: for a CPU.
_base_ = 'tin100.py'
image_size = 32
__resize = dict(
    type='Resize', scale=(image_size, image_size), backend='pillow'
)
data = dict(
    images=4800,
    **_base_.data.pipelines(_base_.data.photo(image_size), [__resize]),
)
__sets = _base_.data.splits(data, _base_.data_root, limit=4800)
train_dataloader = dict(
    num_workers=1, pin_memory=False, dataset=__sets['train']
)
extract_dataloader = dict(num_workers=1, dataset=__sets['extract'])
val_dataloader = dict(num_workers=1, dataset=__sets['val'])
test_dataloader = dict(num_workers=1, dataset=__sets['test'])
