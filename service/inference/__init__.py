"""Models at work: bundles and routes, engines behind three calls, and micro-batching."""
