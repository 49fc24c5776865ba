"""The contract between training and the service, and (later) the networks themselves.

What the service may import is free of torch: `space`, `picture`, `feature_set`, `graph`, `bundle`, `operating_point`.
"""
