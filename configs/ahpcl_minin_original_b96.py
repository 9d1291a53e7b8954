# The other published setting: batch 96, rate 0.08, queue and negatives 640,
# MoCo v1's augmentation (no blur, stronger colours on every image).
_base_ = [
    'ahpcl_minin_original.py',
    '_base_/augmentation/instdisc_84px.py',
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='SeededMultiView', views=[_base_.instdisc_views], num_views=[2]),
    _base_.train_pipeline[2],
]
train_dataloader = dict(batch_size=96, dataset=dict(pipeline=train_pipeline))
model = dict(
    queue_len=640,
    head=dict(loss_proto=dict(num_negatives=640)),
)
optim_wrapper = dict(optimizer=dict(lr=0.08))
