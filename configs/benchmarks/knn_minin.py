# mini-ImageNet for mmselfsup's kNN tool (--dataset-config): of the 20 classes
# of test.csv the first 500 images of each vote on the last 100.
_base_ = '../_base_/datasets/mini_imagenet.py'
custom_imports = dict(imports=['ahpcl'], allow_failed_imports=False)
loader = dict(_base_.extract_dataloader)
loader.pop('dataset')
images = dict(**_base_.test_set, pipeline=_base_.extract_pipeline)
train_dataloader = dict(
    _delete_=True, **loader, dataset=dict(**images, image_part='train')
)
val_dataloader = dict(
    _delete_=True, **loader, dataset=dict(**images, image_part='test')
)
pool_cfg = dict(type='AvgPool2d')
