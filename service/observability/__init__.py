"""What the service shows of itself: metrics, logs, request ids. Never a feature or a picture."""
