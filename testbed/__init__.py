"""Real parts to try the product on: clusters, Prometheus, Helm, the twin. Shares no code with the product."""
