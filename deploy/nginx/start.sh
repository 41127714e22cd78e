#!/bin/sh
# Starts the balancer and the entry proxy (nginx.conf), and reloads the balancer when the replicas change. A replica joins
# once it is ready, and leaves once it is gone from Docker's DNS: one that is slow to answer its probe stays, because
# under load all of them may be slow. Ends when the entry proxy ends.
set -u
here=$(dirname "$0")

# addresses NAME: Debian has no nslookup, and Alpine's getent is not Debian's.
addresses() {
    { getent ahostsv4 "$1" || nslookup -type=a "$1" 127.0.0.11; } 2>/dev/null \
        | grep -oE '[0-9]+(\.[0-9]+){3}' | grep -vxF 127.0.0.11 | sort -u
}

# servers NAME PORT PROBE: the lines of an upstream. Where DNS names nobody they stay: it errs more often than all
# replicas go at once, and those that went cannot be reached in any case.
servers() {
    found=$(addresses "$1")
    if [ -z "$found" ] && cat "/tmp/$1.servers" 2>/dev/null; then
        return
    fi
    for address in $found; do
        line="server $address:$2 max_fails=3 fail_timeout=1s;"
        if grep -qxF "$line" "/tmp/$1.servers" 2>/dev/null || sh "$here/get.sh" "$address" "$2" "$3"; then
            echo "$line"
        fi
    done | grep . || echo "server unix:/tmp/nobody.sock;"
}

is_running() { kill -0 "$(cat /tmp/balancer.pid 2>/dev/null)" 2>/dev/null; }

balance() {
    known=
    while :; do
        api=$(servers api 3000 /readyz)
        dashboard=$(servers dashboard 8501 /_stcore/health)
        if ! is_running || [ "$api $dashboard" != "$known" ]; then
            echo "$api" >/tmp/api.servers
            echo "$dashboard" >/tmp/dashboard.servers
            if is_running; then
                nginx -c "$here/balancer.conf" -s reload
            else
                rm -f /tmp/api.sock /tmp/dashboard.sock /tmp/alive.sock
                nginx -c "$here/balancer.conf"
            fi && known="$api $dashboard"
        fi
        sleep 1
    done
}

balance &
exec nginx -c "$here/nginx.conf" -g 'daemon off;'
