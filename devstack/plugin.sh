#!/usr/bin/env bash
# A plugin of devstack: nova-compute runs with the package, and both APIs have
# its filters.
#
#   [[local|localrc]]
#   enable_plugin nova-multistore https://git.example.com/nova-multistore

# Set an option in nova.conf, of which nova-compute gets a copy when it starts.
function _set_nova_multistore_option {
    local section=$1 option=$2 value=$3
    if [[ -n "$value" ]]; then
        iniset "$NOVA_CONF" "$section" "$option" "$value"
    fi
}

# Copies and moves are made with credentials of their own.
function _set_nova_multistore_credentials {
    iniset "$NOVA_CONF" nova_multistore auth_type password
    iniset "$NOVA_CONF" nova_multistore auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$NOVA_CONF" nova_multistore username nova
    iniset "$NOVA_CONF" nova_multistore password "$SERVICE_PASSWORD"
    iniset "$NOVA_CONF" nova_multistore user_domain_name "$SERVICE_DOMAIN_NAME"
    iniset "$NOVA_CONF" nova_multistore project_name "$SERVICE_PROJECT_NAME"
    iniset "$NOVA_CONF" nova_multistore project_domain_name "$SERVICE_DOMAIN_NAME"
}

function configure_nova_multistore {
    _set_nova_multistore_option glance store "$NOVA_MULTISTORE_STORE"
    _set_nova_multistore_option nova_multistore move_to "$NOVA_MULTISTORE_MOVE_TO"
    _set_nova_multistore_option nova_multistore copy_to "$NOVA_MULTISTORE_COPY_TO"
    _set_nova_multistore_credentials
    if is_service_enabled n-cpu; then
        # Each run of devstack installs Nova anew, and its program with it.
        sudo ln -sf nova-multistore-run "$NOVA_BIN_DIR/nova-compute"
    fi
    if is_service_enabled n-api; then
        "$NOVA_BIN_DIR/nova-multistore-paste" --nova "$NOVA_CONF_DIR/api-paste.ini"
    fi
    if is_service_enabled g-api; then
        "$NOVA_BIN_DIR/nova-multistore-paste" --glance "$GLANCE_CONF_DIR/glance-api-paste.ini"
    fi
}

if [[ "$1" == stack && "$2" == install ]]; then
    setup_develop "$NOVA_MULTISTORE_DIR"
elif [[ "$1" == stack && "$2" == post-config ]]; then
    configure_nova_multistore
elif [[ "$1" == clean ]]; then
    sudo rm -f "$NOVA_BIN_DIR/nova-compute"
fi
