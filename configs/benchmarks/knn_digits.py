# The digits for mmselfsup's kNN tool (--dataset-config): the 1,442 training
# images vote on the 355 test images.
_base_ = '../_base_/datasets/digits.py'
custom_imports = dict(imports=['ahpcl'], allow_failed_imports=False)
loader = dict(_base_.extract_dataloader)
loader.pop('dataset')
pipeline = _base_.extract_pipeline
train_dataloader = dict(
    _delete_=True,
    **loader,
    dataset=dict(**_base_.train_set, pipeline=pipeline),
)
val_dataloader = dict(
    _delete_=True,
    **loader,
    dataset=dict(**_base_.test_set, pipeline=pipeline),
)
pool_cfg = dict(type='AvgPool2d')
