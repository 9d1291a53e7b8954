"""The ladder of cluster counts, and the policies that move along it."""
