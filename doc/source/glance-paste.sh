sed -i -E '/ multistore /! s/[ -]context /&multistore /' glance-api-paste.ini
grep -q '^\[filter:multistore\]' glance-api-paste.ini ||
    printf '\n[filter:multistore]\nuse = egg:nova-multistore#glance_api\n' >> glance-api-paste.ini
