# Rendered shapes, as configs/ahpcl_shapes.py has them: do levels find a
# hierarchy that is there? Choices are made on the split val, the final table
# is of the split test.
_base_ = '../../_base_/scales/shapes.py'
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
