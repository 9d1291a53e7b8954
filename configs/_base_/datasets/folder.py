# A plain folder of images: any nesting, no labels, no list files.
_base_ = 'mini_imagenet.py'
data_root = 'data/my_images/'
train_set = dict(type='UnlabelledFolder', data_root=data_root)
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(**train_set, pipeline=_base_.train_pipeline, _delete_=True),
)
extract_dataloader = dict(
    num_workers=2,
    dataset=dict(**train_set, pipeline=_base_.extract_pipeline, _delete_=True),
)
# Without labels there is nothing to validate.
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None
