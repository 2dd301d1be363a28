#!/bin/sh
# The number of problems that the audit finds, for node-exporter.
set -eu
file=${1:-/var/lib/prometheus/node-exporter/multistore.prom}

# The exit code is 1 if there are problems, and 2 if it was not to be done.
problems=$(openstack --os-cloud audit multistore snapshot audit --all-projects \
    -f value -c id) || [ $? -eq 1 ]

cat >"$file.new" <<END
# HELP multistore_audit_problems Snapshots and backups with a problem.
# TYPE multistore_audit_problems gauge
multistore_audit_problems $(printf '%s' "$problems" | grep -c . || true)
# HELP multistore_audit_timestamp_seconds When that was found.
# TYPE multistore_audit_timestamp_seconds gauge
multistore_audit_timestamp_seconds $(date +%s)
END
mv "$file.new" "$file"
