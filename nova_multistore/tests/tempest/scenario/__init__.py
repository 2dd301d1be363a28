"""What becomes of the images of servers, store by store."""
