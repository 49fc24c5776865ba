"""`make demo`: everything the service does, on people who do not exist and models that were trained on others of them."""
