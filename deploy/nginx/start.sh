#!/bin/sh
# Starts the balancer and the door (nginx.conf), and reloads the balancer when Docker's DNS has other replicas. Ends when
# the door does.
set -u
here=$(dirname "$0")

# Alpine's getent is not Debian's; all that counts is whether there is an answer, and whether it is another one.
look_up() {
    getent ahostsv4 "$1" 2>/dev/null || nslookup -type=a "$1" 127.0.0.11 2>/dev/null
}

# list NAME PORT: the upstream's servers. nginx takes every address of a name, but refuses a name that has none.
# None is ever marked as down: a replica that drains leaves the DNS a moment later, and a list on which all are down would
# refuse what one of them might take.
list() {
    if look_up "$1" >/dev/null; then
        echo "server $1:$2 max_fails=0;"
    else
        echo "server unix:/tmp/nobody.sock;"
    fi >"/tmp/$1.servers"
}

is_running() { kill -0 "$(cat /tmp/balancer.pid 2>/dev/null)" 2>/dev/null; }

balance() {
    known=
    while :; do
        found=$({ look_up api; look_up dashboard; } | sort -u)
        if ! is_running || [ "$found" != "$known" ]; then
            list api 3000
            list dashboard 8501
            if is_running; then
                nginx -c "$here/balancer.conf" -s reload && known=$found
            else
                rm -f /tmp/api.sock /tmp/dashboard.sock /tmp/alive.sock
                nginx -c "$here/balancer.conf" && known=$found
            fi
        fi
        sleep 1
    done
}

balance &
exec nginx -c "$here/nginx.conf" -g 'daemon off;'
