#!/bin/sh
# get.sh ADDRESS PORT PATH: is the answer a 200? Alpine has wget, Debian has bash. No proxy of the environment is asked.
http_proxy='' wget -q -T 2 -O /dev/null "http://$1:$2$3" 2>/dev/null && exit
exec timeout 2 bash -c '
    exec 3<>"/dev/tcp/$0/$1"
    printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$2" "$0" >&3
    read -r _ status _ <&3 && [ "$status" = 200 ]
' "$1" "$2" "$3" 2>/dev/null
