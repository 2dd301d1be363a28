"""What runs inside nova-api."""
