"""AHPCL: adaptive hierarchical prototypical contrastive learning."""

__version__ = '0.1.0'
