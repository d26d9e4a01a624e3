"""Evaluation -> status, annotations, Events, metric samples and tables: words live here only, outcomes never."""
