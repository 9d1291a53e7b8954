# The digits for mmselfsup's kNN tool (--dataset-config): the 1,442 training
# images vote on the 355 test images.
_base_ = '../_base_/datasets/digits.py'
custom_imports = dict(imports=['ahpcl'], allow_failed_imports=False)
_base_.pop('data')
__loader = _base_.extract_dataloader
train_dataloader = dict(__loader, _delete_=True)
val_dataloader = dict(
    __loader, dataset=dict(__loader.dataset, split='test'), _delete_=True
)
pool_cfg = dict(type='AvgPool2d')
