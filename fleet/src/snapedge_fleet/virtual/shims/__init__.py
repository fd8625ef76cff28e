"""Programs that run on a virtual device's PATH; standard library alone, so that they start at once."""
