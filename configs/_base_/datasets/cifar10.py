# CIFAR-10 in class folders (tools/dataset_converters/cifar10.py makes them),
# at its own 32 px: train/<class>/0000 to 4999, test/<class>/0000 to 0999.
#
# Training sees the first 2,000 images of every class; the last 500, which it
# never sees, are for validation, and the folder test for the test.
_base_ = 'photos.py'
data_root = 'data/cifar10/'
image_size = 32
data = dict(
    images=20000,
    classes=10,
    **_base_.data.pipelines(_base_.data.photo(image_size)),
)
__images = dict(
    type='UnlabelledFolder',
    data_root=data_root + 'train/',
    labels_from_folders=True,
    decoded_cache='auto',
)
__train_set = dict(__images, per_class=(0, 2000))
__val_set = dict(__images, per_class=(4500, 5000))
__test_set = dict(__images, data_root=data_root + 'test/')
__in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    pin_memory=False,
    **__in_process,
    dataset=dict(__train_set, pipeline=data['train_pipeline']),
)
extract_dataloader = dict(
    **__in_process,
    dataset=dict(__train_set, pipeline=data['extract_pipeline']),
)
val_dataloader = dict(
    **__in_process, dataset=_base_.data.pair(data, __train_set, __val_set)
)
test_dataloader = dict(
    **__in_process, dataset=_base_.data.pair(data, __train_set, __test_set)
)
