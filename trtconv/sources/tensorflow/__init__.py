"""TensorFlow: SavedModels, Keras files, checkpoints and frozen graphs; the only wing that knows GraphDefs."""
