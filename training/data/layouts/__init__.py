"""Published data sets of photos and sketches, each as it comes out of its archives."""
