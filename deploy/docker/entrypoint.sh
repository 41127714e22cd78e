#!/bin/sh
# The container's command: a subcommand of `lightbox`, flags of `lightbox serve`, or any other program of the image.
set -eu
[ $# -gt 0 ] || set -- serve
case "$1" in
    -*) set -- serve "$@" ;;
esac

# By the PATH alone: the shell's own commands are none of the image's programs.
is_program() {
    case "$1" in
        */*) return 0 ;;
    esac
    (
        IFS=:
        for folder in $PATH; do
            [ ! -x "$folder/$1" ] || exit 0
        done
        exit 1
    )
}

if ! is_program "$1"; then
    # The server keeps temporary files in memory. A model may be larger than that: what imports one uses /tmp.
    [ "$1" = serve ] || [ "${TMPDIR:-}" != /dev/shm ] || unset TMPDIR
    set -- python -m bento_service "$@"
fi
exec "$@"
