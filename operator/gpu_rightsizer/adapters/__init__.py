"""The only I/O: translate, time out, retry, nothing else."""
