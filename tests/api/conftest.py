"""A cluster that knows our kinds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpu_rightsizer.api.crd import KINDS
from tests.api.documents import NAMESPACE

if TYPE_CHECKING:
    from testbed.cluster.local import LocalCluster

CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="session")
def api(local_cluster: LocalCluster) -> LocalCluster:
    """The local control plane with the generated CRDs served and a namespace of our own."""
    local_cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    names = [f"crd/{kind.crd_name}" for kind in KINDS]
    local_cluster.wait("condition=Established", *names)
    local_cluster.create_namespace(NAMESPACE)
    return local_cluster
