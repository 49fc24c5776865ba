"""What goes into the container image, and what does not."""
