"""The twin: a small model of inference servers on GPUs that knows the truth about what a deployment needs.

It turns request arrivals into the series a real cluster would show, and judges what the product recommends from
them. It shares no code and no table with the product.

Where to start: `deployment.TwinSpec` and `simulate`; `series.history` and `series.recording`; `exporter.Exporter`;
`judge.holds` and `fleet.ground_truth`. Imports stay in those modules, so that `exporter` runs without numpy.
"""
