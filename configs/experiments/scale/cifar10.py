# CIFAR-10, the deciding set: configs/ahpcl_cifar10.py with every image in one
# process and bfloat16 encoders, which take 0.6 of float32's time where a
# processor has bfloat16 instructions (0.6 was measured on an AMD EPYC 9004).
#
# Training sees images 0 to 1999 of every class; choices are made on 4500 to
# 4999, the final table is of the folder test. There are no novel classes.
_base_ = '../../ahpcl_cifar10.py'
num_images = 20000
channels = 128
hidden = 256
rungs = [1000, 400, 200, 100, 50, 25, 10]
num_classes = 10
# Clusters of methods without a ladder.
num_labels = 200
warmup_epochs = 5
# Methods of one view train for twice the epochs: as many passes.
one_view_epochs = 40
longest_stay = 3
small_size = 16
small_scale = (0.05, 0.2)
small_crops = 2
swav_queue_len = 1024
thin = True
views_on_device = True
get_data = (
    'make them with python tools/dataset_converters/cifar10.py '
    'cifar-10-binary.tar.gz data/cifar10'
)

custom_hooks = [dict(_base_.custom_hooks[0], warmup_epochs=warmup_epochs)]
model = dict(memory_format='channels_last')
optim_wrapper = dict(type='BF16OptimWrapper')
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    # One C: the choice among six takes minutes.
    linear=[
        dict(type='LinearMetric', protocol='logreg', grid=[0.1], max_iter=100)
    ],
)
