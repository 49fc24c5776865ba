"""What is known of work that outlives a request: jobs."""
