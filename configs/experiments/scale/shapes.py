# Rendered shapes, as configs/ahpcl_shapes.py has them: do levels find a
# hierarchy that is there? Choices are made on the split val, the final table
# is of the split test.
_base_ = '../../_base_/scales/shapes.py'
# As its rows were planned, whatever the defaults become.
_base_.custom_hooks[0].clustering = dict(
    type='KMeansClustering',
    n_iter=20,
    n_init=1,
    warm_start=True,
    warm_from='images',
    warm_iter=5,
    restart_every=5,
)
_base_.custom_hooks[0].interval = 1
data = dict(pcl_shares=(51, 26, 13, 78))
__test = _base_.test_dataloader.dataset.datasets
val_dataloader = dict(
    dataset=dict(
        datasets=[__test[0], dict(__test[1], split='val')],
    )
)
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg', grid=[0.1])],
)
