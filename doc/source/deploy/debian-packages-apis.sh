nova-multistore-paste --nova /etc/nova/api-paste.ini
nova-multistore-paste --glance /etc/glance/glance-api-paste.ini
systemctl restart nova-api glance-api
