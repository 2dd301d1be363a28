sed -i -E '/ multistore /! s/ osapi_compute_app_v21$/ multistore&/' api-paste.ini
grep -q '^\[filter:multistore\]' api-paste.ini ||
    printf '\n[filter:multistore]\nuse = egg:nova-multistore#nova_api\n' >> api-paste.ini
