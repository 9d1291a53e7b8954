# TIN-100 at 32 px for mmselfsup's kNN tool (--dataset-config): of the 20
# classes of test.csv the first 200 images of each vote on the last 50.
_base_ = '../_base_/datasets/tin100_32px.py'
custom_imports = dict(imports=['ahpcl'], allow_failed_imports=False)
__extract = _base_.pop('data').extract_pipeline
__loader = {
    key: value
    for key, value in _base_.extract_dataloader.items()
    if key != 'dataset'
}
__train, __val = (
    dict(images, pipeline=__extract)
    for images in _base_.test_dataloader.dataset.datasets
)
train_dataloader = dict(__loader, dataset=__train, _delete_=True)
val_dataloader = dict(__loader, dataset=__val, _delete_=True)
pool_cfg = dict(type='AvgPool2d')
