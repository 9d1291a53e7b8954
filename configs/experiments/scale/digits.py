# The digits, two epochs: only to see that a row runs. Raw pixels reach 97 %
# there, so its figures say nothing about a method.
_base_ = '../../ahpcl_digits.py'
num_images = 1442
channels = 64
hidden = 128
rungs = [200, 100, 50, 25, 10, 5]
num_classes = 10
num_labels = 100
warmup_epochs = 1
longest_stay = 5
small_size = 10
one_view_epochs = 2
small_scale = (0.05, 0.2)
swav_queue_len = 256
small_crops = 2
thin = True
views_on_device = False

model = dict(symmetric=True, head=dict(loss_inst=dict(temperature=0.1)))
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = in_process
fewshot_loader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(**_base_.test_set, pipeline=_base_.query_pipeline),
)
fewshot_dataloader = dict(val=fewshot_loader, test=fewshot_loader)
train_cfg = dict(max_epochs=2, val_interval=1)
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg')],
    fewshot=[
        dict(type='FewShotMetric', ways=5, shots=[1, 5], episodes=200),
    ],
)
