# AHPCL with prototype contrast, as it was published: prototypes are the
# centroids of clusters of keys, and a query is contrasted with them.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
