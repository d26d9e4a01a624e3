"""The generated CRD's schema of an InferenceDeployment's status, as strict as the API server is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CRD = Path(__file__).parents[1] / "crds" / "gpu-rightsizer.dev_inferencedeployments.yaml"


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, refusing what the API server would silently drop."""
    for value in schema.values():
        if isinstance(value, dict):
            strict(value)
    if "properties" in schema and "x-kubernetes-preserve-unknown-fields" not in schema:
        schema.setdefault("additionalProperties", False)
    return schema


STATUS_SCHEMA = strict(
    yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
)
