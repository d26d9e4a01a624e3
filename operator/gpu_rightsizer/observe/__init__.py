"""Reading the world: raw Kubernetes objects and metric answers become Workloads and Observations."""
