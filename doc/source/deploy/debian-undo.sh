sed -i 's/ multistore / /' /etc/nova/api-paste.ini /etc/glance/glance-api-paste.ini
sed -i '/nova-multistore/d' /etc/default/nova-compute /etc/default/nova-api /etc/default/glance-api
systemctl restart nova-compute nova-api glance-api
rm -r /opt/nova-multistore
