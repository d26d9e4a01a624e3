"""Replays recorded traffic through the decision and through what others do, and lets a judge say what happened."""
