"""Plans and ONNX files that are loaded: fed, shared by threads, asked what they hold."""
