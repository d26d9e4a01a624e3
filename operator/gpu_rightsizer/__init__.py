"""GPU Rightsizer: what each inference deployment needs, at what risk, and the cheapest class that holds it."""
