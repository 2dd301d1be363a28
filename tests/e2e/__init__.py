"""A whole OpenStack on one machine, for what only real processes show."""
