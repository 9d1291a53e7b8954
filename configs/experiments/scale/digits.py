# The digits, two epochs: only to see that a row runs. Raw pixels reach 97 %
# there, so its figures say nothing about a method.
_base_ = '../../_base_/scales/digits.py'
data = dict(
    labels=dict(deepcluster=100, odc=100, sela=100, swav=100),
    small_views=dict(scale=(0.05, 0.2)),
    swav=dict(
        _delete_=True, queue_len=256, queue_start_epoch=1, freeze_iters=22
    ),
    pcl_shares=(51, 26, 13, 78),
)
# As its rows were planned: views by the data set, the best of five starts.
_base_.data.views_on_cpu(_base_)
_base_.custom_hooks[0].interval = 1
_base_.custom_hooks[0].clustering = dict(
    type='KMeansClustering', n_iter=20, n_init=5
)
model = dict(symmetric=True, head=dict(loss_inst=dict(temperature=0.1)))
train_dataloader = dict(num_workers=0, persistent_workers=False)
fewshot_dataloader = {
    part: dict(
        batch_size=256,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=_base_.test_dataloader.dataset.datasets[1],
    )
    for part in ('val', 'test')
}
train_cfg = dict(max_epochs=2, val_interval=1)
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg')],
    fewshot=[
        dict(type='FewShotMetric', ways=5, shots=[1, 5], episodes=200),
    ],
)
