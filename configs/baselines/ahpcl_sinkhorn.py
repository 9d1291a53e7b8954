# AHPCL with clusters of equal size, by SeLa's optimal transport.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
_base_.custom_hooks[0].clustering = dict(type='SinkhornClustering')
