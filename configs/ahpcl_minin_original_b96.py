# The other published setting: batch 96, rate 0.08, queue and negatives 640,
# MoCo v1's augmentation (no blur, stronger colours on every image).
_base_ = [
    'ahpcl_minin_original.py',
    '_base_/augmentation/instdisc.py',
]
_base_.model.data_preprocessor.views[0][1:] = _base_.pop('instdisc')
train_dataloader = dict(batch_size=96)
model = dict(
    queue_len=640,
    head=dict(loss_proto=dict(num_negatives=640)),
)
optim_wrapper = dict(optimizer=dict(lr=0.08))
