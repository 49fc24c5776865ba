"""The verbs: translate, verify, identify, enrol. They know no web, FAISS, SQLite or ONNX Runtime."""
