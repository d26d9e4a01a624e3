"""The operator: look at the fleet, evaluate it, write what changed. kopf is only its door."""
