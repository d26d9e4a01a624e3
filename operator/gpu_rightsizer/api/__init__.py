"""The wire: our three kinds as the API server stores them, the CRDs made from them, and the way in and out."""
