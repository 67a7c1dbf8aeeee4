"""One file per stage: a typed request in, a typed result out; knows nothing of YAML."""
