grep -q 'nova-multistore#nova_api' api-paste.ini || {
    sed -i -E 's/ osapi_compute_app_v21$/ multistore&/' api-paste.ini
    printf '\n[filter:multistore]\nuse = egg:nova-multistore#nova_api\n' >> api-paste.ini
}
