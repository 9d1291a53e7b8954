# The demo: scikit-learn's digits on a CPU in a few minutes.
_base_ = '_base_/scales/digits.py'
__ladder = _base_.custom_hooks[0].ladder
_base_.pop('data').classify_clusters(_base_, __ladder)
