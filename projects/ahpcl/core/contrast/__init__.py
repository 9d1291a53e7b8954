"""Losses of contrast and classification, smoothing, selection of negatives."""
