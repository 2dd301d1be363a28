python3 -m pip install nova-multistore
semanage fcontext -a -t virtd_exec_t /usr/local/bin/nova-multistore-run
restorecon /usr/local/bin/nova-multistore-run
systemctl daemon-reload
systemctl restart openstack-nova-compute
