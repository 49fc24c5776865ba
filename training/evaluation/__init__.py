"""Pure functions on arrays: how well features identify and verify."""
