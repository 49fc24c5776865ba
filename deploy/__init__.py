"""Running Facebridge: the demonstration, and later dashboards, rules and charts."""
