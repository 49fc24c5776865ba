"""Published data sets of photos and sketches or caricatures, each as it comes out of its archives."""
