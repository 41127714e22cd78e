#!/bin/sh
# The container's command: a subcommand of `lightbox`, flags of `lightbox serve`, or any other program.
set -eu
[ $# -gt 0 ] || set -- serve
case "$1" in
    -*) set -- serve "$@" ;;
esac
case "$1" in
    serve | classify | models | bench) set -- python -m bento_service "$@" ;;
esac
exec "$@"
