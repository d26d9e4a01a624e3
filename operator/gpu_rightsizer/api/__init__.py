"""The wire: InferenceDeployment, InstanceClass and RightsizingPolicy as the API server stores them, and their way in and out."""
