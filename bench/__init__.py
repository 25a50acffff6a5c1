"""lstmfast against its peers and against the limit of the machine: `python -m bench --help`."""
