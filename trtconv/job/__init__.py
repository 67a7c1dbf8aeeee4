"""Job files: schema, loading with places in every error, overrides."""
