"""k-means and its search backends, hierarchies, concentration, agreement."""
