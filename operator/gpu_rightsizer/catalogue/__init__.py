"""What is known without asking anybody: accelerators, instance types with dated prices, and models."""

from gpu_rightsizer.catalogue.loading import InvalidCatalogue, load
from gpu_rightsizer.catalogue.lookup import Catalogue

__all__ = ["Catalogue", "InvalidCatalogue", "load"]
