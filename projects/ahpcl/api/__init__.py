"""What people call from Python: training, and what a run is good for."""
