"""The only doors to heavy packages: each loads on first use and translates foreign errors."""
