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
# The images are decoded once; a batch is taken out of them in one piece.
__in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    pin_memory=False, **__in_process, dataset=__sets['train']
)
extract_dataloader = dict(**__in_process, dataset=__sets['extract'])
val_dataloader = dict(**__in_process, dataset=__sets['val'])
test_dataloader = dict(**__in_process, dataset=__sets['test'])
