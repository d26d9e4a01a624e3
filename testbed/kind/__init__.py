"""What kind needs and no registry gives: a node image, and the images of the pods that run in it."""
