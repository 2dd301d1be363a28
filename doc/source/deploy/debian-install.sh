apt install python3-venv
python3 -m venv --system-site-packages /opt/nova-multistore
/opt/nova-multistore/bin/pip install nova-multistore
ln -s nova-multistore-run /opt/nova-multistore/bin/nova-compute
echo 'DAEMON=/opt/nova-multistore/bin/nova-compute' >> /etc/default/nova-compute
systemctl restart nova-compute
