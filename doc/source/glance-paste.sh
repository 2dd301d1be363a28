grep -q 'nova-multistore#glance_api' glance-api-paste.ini || {
    sed -i -E 's/[ -]context /&multistore /' glance-api-paste.ini
    printf '\n[filter:multistore]\nuse = egg:nova-multistore#glance_api\n' >> glance-api-paste.ini
}
