"""Need x InstanceClass -> Candidate: does it fit, how fast, at what price; one model per file."""

from gpu_rightsizer.predict.candidates import predict

__all__ = ["predict"]
