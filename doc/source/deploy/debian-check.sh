nova-multistore-status --config-file /etc/nova/nova.conf --config-file /etc/nova/nova-compute.conf upgrade check
