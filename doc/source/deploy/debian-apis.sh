path=$(echo /opt/nova-multistore/lib/python3*/site-packages)
echo "export PYTHONPATH=$path" >> /etc/default/nova-api
echo "export PYTHONPATH=$path" >> /etc/default/glance-api
/opt/nova-multistore/bin/nova-multistore-paste --nova /etc/nova/api-paste.ini
/opt/nova-multistore/bin/nova-multistore-paste --glance /etc/glance/glance-api-paste.ini
systemctl restart nova-api glance-api
