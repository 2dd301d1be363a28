sed -i 's/ multistore / /' /etc/nova/api-paste.ini /etc/glance/glance-api-paste.ini
systemctl restart nova-api glance-api
apt remove nova-compute-multistore python3-nova-multistore
