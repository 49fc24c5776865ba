"""The offline half of Facebridge: from pictures and features to bundles that the service loads."""
