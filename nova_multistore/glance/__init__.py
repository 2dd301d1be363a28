"""What runs inside glance-api."""
