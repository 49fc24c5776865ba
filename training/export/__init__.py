"""From fitted models to bundles: ONNX graphs, the parity gate, manifests and model cards."""
